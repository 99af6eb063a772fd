"""An orthogonality study as JSON and tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import combinations
from typing import Any

import pandas as pd

from analysis.orthogonality.chance import chance
from analysis.orthogonality.geometry import Geometry
from analysis.orthogonality.measure import Study
from analysis.orthogonality.rounding import correct
from analysis.results import Reasons
from m2m.support.arrays import Floats

NAME = "orthogonality"
_ZERO = "a task vector is zero"
_ADAPTERS = "factors of adapters do not tell it"
_CHANCE = f"{_ZERO}, or {_ADAPTERS}; nothing is tested of a task vector and itself"
_NOISE = f"rounding to the stored type hides it, or {_ADAPTERS}"
#: Why a number may not be there.
REASONS: Reasons = {
    "cosine": _ZERO,
    "plain": _ZERO,
    "anchored": _ZERO,
    "predicted": _ZERO,
    "removed": _ZERO,
    "spread_of_equal_elements": "there are no elements",
    "spread": _CHANCE,
    "chance_spread": _CHANCE,
    "dimension": _CHANCE,
    "z": _CHANCE,
    "z_by_tensor": f"{_ZERO}; nothing is tested of a task vector and itself",
    "corrected": _NOISE,
    "norms": _NOISE,
    "norms_low": _NOISE,
    "norms_high": _NOISE,
    "norm_corrected": _NOISE,
    "norm_low": _NOISE,
    "norm_high": _NOISE,
    "low": _NOISE,
    "high": _NOISE,
    "corrected_low": _NOISE,
    "corrected_high": _NOISE,
    "signal": f"the stored types round nothing, or {_ADAPTERS}",
    "norm_ratio": f"the base is zero, or {_ADAPTERS}",
    "largest": _ADAPTERS,
    "zeros": f"there are no elements, or {_ADAPTERS}",
    "sign_agreement": f"no element moved in both, or {_ADAPTERS}",
    "subspaces": "subspaces were not asked for, or no matrix moved in two experts",
    "anchors": "no anchored experts were given",
}


def to_json(study: Study) -> dict[str, Any]:
    """Lay the whole model's numbers out for a JSON file.

    Args:
        study: The study.

    Returns:
        Matrices and vectors in the order of `experts`; null where something is not defined or not known.
    """
    whole, by_chance, corrected = study.whole, study.chance, study.corrected
    return {
        "base": study.base.name,
        "experts": study.experts,
        "warnings": study.warnings,
        "elements": whole.elements,
        "gram": whole.gram,
        "cosine": whole.cosine,
        "chance": {
            "spread_of_equal_elements": by_chance.naive,
            "spread": by_chance.spread,
            "dimension": by_chance.dimension,
            "z": by_chance.z,
            "z_by_tensor": by_chance.by_tensor,
        },
        "corrected": None if corrected is None else vars(corrected),
        "norms": whole.norms,
        "norm_ratio": whole.norm_ratio,
        "largest": whole.largest,
        "zeros": whole.zeros,
        "sign_agreement": whole.sign_agreement,
        "subspaces": _subspaces(study),
        "anchors": None if study.anchors is None else asdict(study.anchors),
    }


def to_tables(study: Study) -> dict[str, pd.DataFrame]:
    """Lay a study out as tables.

    Args:
        study: The study.

    Returns:
        Rows a pair of experts and a group of tensors (the main table), rows an expert and a group, and, where
        subspaces were compared, rows a pair, matrix and side.
    """
    groups = [
        (level, name, geometry) for level, named in study.groups.items() for name, geometry in named.items()
    ]
    pairs = [row for key in groups for row in _pair_rows(study, *key)]
    experts = [row for key in groups for row in _expert_rows(study, *key)]
    columns = ["level", "group", "a", "b", "cosine"]
    tables = {
        "": pd.DataFrame(pairs, columns=None if pairs else columns),
        "experts": pd.DataFrame(experts),
    }
    if study.angles:
        tables["subspaces"] = pd.DataFrame(_angle_rows(study))
    return tables


def _pair_rows(study: Study, level: str, name: str, geometry: Geometry) -> Iterator[dict[str, Any]]:
    by_chance, corrected = chance(geometry), correct(geometry)
    cosine, signs = geometry.cosine, geometry.sign_agreement
    for i, j in combinations(range(len(study.experts)), 2):
        yield {
            "level": level,
            "group": name,
            "a": study.experts[i],
            "b": study.experts[j],
            "elements": geometry.elements,
            "product": geometry.gram[i, j],
            "cosine": cosine[i, j],
            "corrected": _at(getattr(corrected, "cosine", None), i, j),
            "corrected_low": _at(getattr(corrected, "low", None), i, j),
            "corrected_high": _at(getattr(corrected, "high", None), i, j),
            "chance_spread": _at(by_chance.spread, i, j),
            "dimension": _at(by_chance.dimension, i, j),
            "z": _at(by_chance.z, i, j),
            "z_by_tensor": by_chance.by_tensor[i, j],
            "sign_agreement": _at(signs, i, j),
        }


def _expert_rows(study: Study, level: str, name: str, geometry: Geometry) -> Iterator[dict[str, Any]]:
    corrected = correct(geometry)
    for n, expert in enumerate(study.experts):
        yield {
            "level": level,
            "group": name,
            "expert": expert,
            "elements": geometry.elements,
            "norm": geometry.norms[n],
            "norm_corrected": _at(getattr(corrected, "norms", None), n),
            "norm_low": _at(getattr(corrected, "norms_low", None), n),
            "norm_high": _at(getattr(corrected, "norms_high", None), n),
            "norm_ratio": _at(geometry.norm_ratio, n),
            "largest": _at(geometry.largest, n),
            "zeros": _at(geometry.zeros, n),
            "signal": _at(getattr(corrected, "signal", None), n),
        }


def _angle_rows(study: Study) -> list[dict[str, Any]]:
    return [
        {
            "tensor": angles.tensor,
            "side": angles.side,
            "a": study.experts[angles.pair[0]],
            "b": study.experts[angles.pair[1]],
            "rank": len(angles.cosines),
            "overlap": angles.overlap,
            "chance": angles.chance,
            "largest_cosine": angles.cosines[0],
            "energy": angles.energy,
        }
        for angles in study.angles
    ]


def _subspaces(study: Study) -> dict[str, Any] | None:
    if not study.angles:
        return None
    sides = {side: [row for row in study.angles if row.side == side] for side in ("output", "input")}
    return {"rank": study.rank} | {
        side: {
            "matrices": len({row.tensor for row in rows}),
            "mean_overlap": sum(row.overlap for row in rows) / len(rows),
            "mean_chance": sum(row.chance for row in rows) / len(rows),
        }
        for side, rows in sides.items()
    }


def _at(values: Floats | None, *index: int) -> float | None:
    return None if values is None else float(values[index])
