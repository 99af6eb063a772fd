"""Races: find the best of M candidates on E examples without scoring every candidate on every example."""

from m2m.evaluate.racing.candidates import Candidates, MergedCandidates, RecordedCandidates
from m2m.evaluate.racing.objective import Estimate, RacedObjective
from m2m.evaluate.racing.race import RaceResult, Round, race

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
