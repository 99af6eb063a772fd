"""Score candidates of experts on disk: all of them on everything, or in a race for the best one."""

from m2m.scoring.models import merged_content
from m2m.scoring.run import ScoreReport, score

__all__ = ["ScoreReport", "merged_content", "score"]
