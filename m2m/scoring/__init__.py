"""Score candidates of experts on disk: all of them on everything, or in a race for the best one."""

from m2m.scoring.models import merged_content
from m2m.scoring.prepare import files_of_tasks, score_outputs
from m2m.scoring.racing import RaceReport, race_candidates
from m2m.scoring.run import ScoreReport, score

__all__ = [
    "RaceReport",
    "ScoreReport",
    "files_of_tasks",
    "merged_content",
    "race_candidates",
    "score",
    "score_outputs",
]
