"""Races: find the best of M candidates on E examples without scoring every candidate on every example."""

from m2m.scoring.racing.candidates import Candidates, MergedCandidates, RecordedCandidates
from m2m.scoring.racing.objective import Estimate, RacedObjective
from m2m.scoring.racing.race import RaceResult, Round, race

__all__ = [
    "Candidates",
    "Estimate",
    "MergedCandidates",
    "RaceResult",
    "RacedObjective",
    "RecordedCandidates",
    "Round",
    "race",
]
