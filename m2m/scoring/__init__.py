"""Score candidates: of experts on disk into a table, or in a race; in memory, or streamed block by block."""

from m2m.scoring.bench import Bench
from m2m.scoring.choice import Means
from m2m.scoring.live.live_model import LiveModel
from m2m.scoring.live.resident import score_candidates, score_resident
from m2m.scoring.models import Models, model_state, open_models, verified_models
from m2m.scoring.prepare import files_of_tasks, score_outputs
from m2m.scoring.racing import MergedCandidates, RacedObjective, RaceResult, RecordedCandidates, race
from m2m.scoring.racing.race_experts import RaceReport, race_candidates
from m2m.scoring.score_experts import ScoreReport, score_mixtures
from m2m.scoring.source import ScoreSource
from m2m.scoring.streamed import Streamed, StreamedWalk, score_streamed
from m2m.scoring.targets import Targets, load_targets
from m2m.scoring.tasks.function_scorer import FunctionScorer
from m2m.scoring.tasks.scorer import BatchedScorer, Scorer, Scores, TaskBatch, score_model
from m2m.scoring.tasks.targets import TargetScorer, most_similar, similarities

__all__ = [
    "BatchedScorer",
    "Bench",
    "FunctionScorer",
    "LiveModel",
    "Means",
    "MergedCandidates",
    "Models",
    "RaceReport",
    "RaceResult",
    "RacedObjective",
    "RecordedCandidates",
    "ScoreReport",
    "ScoreSource",
    "Scorer",
    "Scores",
    "Streamed",
    "StreamedWalk",
    "TargetScorer",
    "Targets",
    "TaskBatch",
    "files_of_tasks",
    "load_targets",
    "model_state",
    "most_similar",
    "open_models",
    "race",
    "race_candidates",
    "score_candidates",
    "score_mixtures",
    "score_model",
    "score_outputs",
    "score_resident",
    "score_streamed",
    "similarities",
    "verified_models",
]
