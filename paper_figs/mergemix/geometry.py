"""Relative curvature γ and cosines of task vectors of the experts (figure 7 of arXiv 2601.17858)."""

from __future__ import annotations

from pathlib import Path

from paper_figs.mergemix import cosines, gamma
from paper_figs.mergemix.set_up import EXPERIMENT, NEEDS
from paper_figs.part import Part


def draw(results: Path, out: Path) -> list[Path]:
    """Draw both, a figure each."""
    return [
        *gamma.draw(results / EXPERIMENT, out / EXPERIMENT),
        *cosines.draw(results / EXPERIMENT, out / EXPERIMENT),
    ]


def _caption(results: Path) -> str:
    return (
        "γ_kj: how much stronger domain k's curvature acts on domain j's gradient than on its own, each by "
        "its length, at the base model; exact products with the Hessians over examples at even distances. "
        "Cosines: of the experts' displacements from the base; grey, two standard deviations of random "
        "directions. One model each, so no intervals. The paper's figure 7 has no numbers; it reads a "
        "dominant diagonal and small cosines off. A dominant diagonal means that domains do not disturb each "
        "other, and not that merging is exact ([theory](theory.md))."
    )


PART = Part("Curvature and task vectors (figure 7)", NEEDS, _caption, draw=draw)
