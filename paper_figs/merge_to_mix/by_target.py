"""Merged against trained scores, one panel a target, of every set-up."""

from __future__ import annotations

from pathlib import Path

from paper_figs.merge_to_mix import scatter
from paper_figs.merge_to_mix.set_ups import NEEDS, found
from paper_figs.part import Part


def draw(results: Path, out: Path) -> list[Path]:
    """Draw every set-up's scatter into a folder of its own."""
    return [
        path
        for one, _ in found(results)
        for path in scatter.draw(results / one.experiment, out / one.experiment)
    ]


def _caption(results: Path) -> str:
    titles = ", ".join(content["about"]["title"] for _, content in found(results))
    return (
        f"{titles}, in this order; the first panel of each is the utility that the run chose for, the sum "
        "of the targets' gains over the base model, each in standard deviations of the merged scores. "
        "Validation scores."
    )


PART = Part("Merged against trained, by target", NEEDS, _caption, draw=draw)
