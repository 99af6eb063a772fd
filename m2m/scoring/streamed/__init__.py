"""Streamed evaluation: models larger than memory, all candidates in one pass over the experts."""

from m2m.scoring.streamed.stream import Counts, Streamed, StreamedWalk, score_streamed

__all__ = ["Counts", "Streamed", "StreamedWalk", "score_streamed"]
