"""Experts anchored on common data, which two questions hold beside plain ones."""

from __future__ import annotations

from pathlib import Path

from analysis.papers.corrected import ANCHOR
from analysis.papers.questions.ground import Ground
from m2m.mixing.anchored import anchors
from m2m.pipeline.worker import Train


def anchored_experts(ground: Ground) -> dict[str, Path]:
    """Train an expert a dataset on `ANCHOR` of its own data, beside the run, where all questions find it.

    Args:
        ground: The run.

    Returns:
        Checkpoint folder by dataset.
    """
    shop = ground.shop
    names = list(shop.singles[0].datasets)
    room, config = ground.beside / "anchored", shop.config
    jobs = [
        Train(mixture, config.run.seed, config.train, room / name, ())
        for name, mixture in zip(names, anchors(names, ANCHOR), strict=True)
    ]
    shop.train(jobs, "anchored experts")
    return {name: job.folder for name, job in zip(names, jobs, strict=True)}
