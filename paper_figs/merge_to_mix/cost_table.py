"""What choosing by merging costs beside training every mixture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paper_figs.merge_to_mix.set_ups import NEEDS, found
from paper_figs.part import Part, Table
from paper_figs.tables import written

_WORDS = {"merging": "merging", "truth": "train every mixture", "all": "train on all datasets"}


def tables(results: Path) -> list[Table]:
    """Return one table: a row a set-up and way."""
    rows = [row for _, content in found(results) for row in _rows(content["about"]["title"], content["cost"])]
    header = ["set-up", "N", "way", "trainings", "mixtures scored", "forwards", "of training every mixture"]
    return [Table("", [header, *rows, *_printed()])]


def _rows(title: str, cost: Mapping[str, Any]) -> list[list[str]]:
    whole = cost["by"]["truth"]["forwards"]
    return [
        [
            title,
            str(cost["datasets"]),
            _WORDS[name],
            str(way["trainings"]),
            str(way["scored"]),
            f"{way['forwards']:,}",
            written(way["forwards"] / whole, ".0%"),
        ]
        for name, way in cost["by"].items()
    ]


def _printed() -> list[list[str]]:
    """Lay out what the paper's method takes: N + 1 fine-tunes instead of 2^N − 1."""
    return [
        ["the paper", str(n), words, str(trained), str(2**n - 1), "–", "–"]
        for n in (6, 7)
        for words, trained in (("merging", n + 1), ("train every mixture", 2**n - 1))
    ]


def _caption(_: Path) -> str:
    return (
        "In forward passes of one example through the model; training on one counts as three. Merging: N "
        "experts, every mixture merged and scored on the validation examples of the targets that are "
        "chosen for, one training on the pick. Forming a merged model is not counted. The paper's numbers "
        "of trainings follow from its method; it prints no hours. Its examples are many to a training, so "
        "scoring weighs less there than here."
    )


PART = Part("Cost", NEEDS, _caption, tables=tables)
