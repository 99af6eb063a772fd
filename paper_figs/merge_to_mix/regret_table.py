"""What picks lose over many utilities: single targets, and several at once, where no one dataset wins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paper_figs.merge_to_mix.set_ups import NEEDS, found
from paper_figs.part import Part, Table
from paper_figs.tables import estimate

_WORDS = {"size": "all datasets"}


def tables(results: Path) -> list[Table]:
    """Return a table a set-up: a row a way of choosing, a column a kind of utilities."""
    return [
        Table(content["about"]["title"], _rows(results / one.experiment, content))
        for one, content in found(results)
    ]


def _rows(folder: Path, content: Mapping[str, Any]) -> list[list[str]]:
    beside = json.loads((folder / "fidelity.json").read_text(encoding="utf-8"))["beside"]
    kinds = {kind: of for kind, of in beside["choices"].items() if kind != content["choice"]["for"]}
    names = list(dict.fromkeys(name for of in kinds.values() for name in of["regret"]))
    header = ["chosen by", *(f"{kind} ({of['utilities']})" for kind, of in kinds.items())]
    words = _WORDS | {name: text for name, text in beside["surrogates"].items() if name not in _WORDS}
    return [
        header,
        *([words[n], *(estimate(of["regret"].get(n), ".0%") for of in kinds.values())] for n in names),
    ]


def _caption(_: Path) -> str:
    return (
        "Mean regret on validation, share of the range of trained utilities; intervals are for new "
        "targets. A utility is a target, or the sum of two or three in standard deviations of their "
        "trained scores. On a single target one dataset mostly wins, and whoever looks at the experts "
        "finds it; the last column counts those utilities alone whose best mixture is really mixed. The "
        "paper has single targets only."
    )


PART = Part("Regret over many utilities", NEEDS, _caption, tables=tables)
