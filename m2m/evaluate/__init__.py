"""Scores of models: the Scorer protocol, its tasks, and candidates scored in one live module."""

from m2m.evaluate.batched_scorer import BatchedScorer, TaskBatch
from m2m.evaluate.function_scorer import FunctionScorer
from m2m.evaluate.live_model import LiveModel
from m2m.evaluate.racing import MergedCandidates, RacedObjective, RaceResult, RecordedCandidates, race
from m2m.evaluate.resident import score, score_candidates, score_model
from m2m.evaluate.scorer import Scorer, Scores
from m2m.evaluate.similarity import most_similar, similarities
from m2m.evaluate.streamed import Streamed, StreamedWalk, score_streamed
from m2m.evaluate.target_scorer import TargetScorer

__all__ = [
    "BatchedScorer",
    "FunctionScorer",
    "LiveModel",
    "MergedCandidates",
    "RaceResult",
    "RacedObjective",
    "RecordedCandidates",
    "Scorer",
    "Scores",
    "Streamed",
    "StreamedWalk",
    "TargetScorer",
    "TaskBatch",
    "most_similar",
    "race",
    "score",
    "score_candidates",
    "score_model",
    "score_streamed",
    "similarities",
]
