"""Streamed evaluation: models larger than memory, all candidates in one pass over the experts."""

from m2m.evaluate.streamed.stream import Streamed, score_streamed

__all__ = ["Streamed", "score_streamed"]
