"""Score candidates: of experts on disk into a table, or in a race; in memory, or streamed block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING

from m2m.support.lazy import lazy_names

if TYPE_CHECKING:
    from m2m.scoring.bench import Bench
    from m2m.scoring.live.live_model import LiveModel
    from m2m.scoring.live.resident import score_candidates, score_resident
    from m2m.scoring.means import Means
    from m2m.scoring.models import Models, model_state, open_models, verified_models
    from m2m.scoring.prepare import files_of_tasks, score_outputs
    from m2m.scoring.racing.candidates import MergedCandidates, RecordedCandidates
    from m2m.scoring.racing.objective import RacedObjective
    from m2m.scoring.racing.race import RaceResult, race
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

__getattr__ = lazy_names(
    __name__,
    {
        "BatchedScorer": "m2m.scoring.tasks.scorer",
        "Bench": "m2m.scoring.bench",
        "FunctionScorer": "m2m.scoring.tasks.function_scorer",
        "LiveModel": "m2m.scoring.live.live_model",
        "Means": "m2m.scoring.means",
        "MergedCandidates": "m2m.scoring.racing.candidates",
        "Models": "m2m.scoring.models",
        "RaceReport": "m2m.scoring.racing.race_experts",
        "RaceResult": "m2m.scoring.racing.race",
        "RacedObjective": "m2m.scoring.racing.objective",
        "RecordedCandidates": "m2m.scoring.racing.candidates",
        "ScoreReport": "m2m.scoring.score_experts",
        "ScoreSource": "m2m.scoring.source",
        "Scorer": "m2m.scoring.tasks.scorer",
        "Scores": "m2m.scoring.tasks.scorer",
        "Streamed": "m2m.scoring.streamed",
        "StreamedWalk": "m2m.scoring.streamed",
        "TargetScorer": "m2m.scoring.tasks.targets",
        "Targets": "m2m.scoring.targets",
        "TaskBatch": "m2m.scoring.tasks.scorer",
        "files_of_tasks": "m2m.scoring.prepare",
        "load_targets": "m2m.scoring.targets",
        "model_state": "m2m.scoring.models",
        "most_similar": "m2m.scoring.tasks.targets",
        "open_models": "m2m.scoring.models",
        "race": "m2m.scoring.racing.race",
        "race_candidates": "m2m.scoring.racing.race_experts",
        "score_candidates": "m2m.scoring.live.resident",
        "score_mixtures": "m2m.scoring.score_experts",
        "score_model": "m2m.scoring.tasks.scorer",
        "score_outputs": "m2m.scoring.prepare",
        "score_resident": "m2m.scoring.live.resident",
        "score_streamed": "m2m.scoring.streamed",
        "similarities": "m2m.scoring.tasks.targets",
        "verified_models": "m2m.scoring.models",
    },
)
