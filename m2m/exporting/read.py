"""Where a mixture comes from: a finished run, a JSON file, or the command line."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m2m.errors import InputError, MixtureError
from m2m.mixture import Mixture
from m2m.support.arguments import argument
from m2m.support.doors import read_json
from m2m.support.schema import check_keys

#: How far the sum of weights typed by a person may be from 1: they are rounded to a few decimals.
TYPED_TOLERANCE = 0.005
#: What is taken out of a run's results.
_PICK = {"datasets": [str], "picked": [str], "picked_after_trainings?": [str], "recipe": {"sampling": str}}


def read_mixture(source: str, sizes: Mapping[str, int] | None = None) -> Mixture:
    """Read the mixture to export.

    A run's pick, the one after trainings where there is one, is pooled the way the run pooled: λ = 1/|S| of
    each member (docs/decisions.md), or, where it drew examples in proportion to the datasets' sizes,
    λ × size rescaled to sum to 1.

    Args:
        source: A folder of `m2m run` or `m2m mix`; a JSON file `{"a": 0.3, …}` or `{"datasets": […],
            "weights": […]}`; or `a=0.3,b=0.7`.
        sizes: Examples by dataset name, needed for a run that samples in proportion.

    Returns:
        The shares in which examples are drawn.

    Raises:
        InputError: If it is none of these.
    """
    # `os.path` takes a hundred weights for what they are; `Path` finds the name too long to look for.
    if os.path.isdir(source):
        return _of_folder(Path(source), sizes or {})
    if os.path.isfile(source):
        return _of_file(Path(source))
    if "=" in source:
        return _typed(source)
    raise InputError(
        f"{source!r} is neither a run folder nor a JSON file, a CSV file or weights like a=0.3,b=0.7"
    )


def _of_folder(folder: Path, sizes: Mapping[str, int]) -> Mixture:
    if (folder / "results.json").exists():
        return _of_run(folder, sizes)
    for mixed in (folder, folder / "mix"):
        if (mixed / "mix.json").exists():
            return _of_file(mixed / "mixture.json")
    raise InputError(
        f"{folder} is no finished run of `m2m run` (no results.json) nor of `m2m mix` (no mix.json)"
    )


def _of_run(folder: Path, sizes: Mapping[str, int]) -> Mixture:
    path = folder / "results.json"
    results = read_json(path, "a run's results", shape=_PICK)
    datasets, sampling = results["datasets"], results["recipe"]["sampling"]
    picked = results.get("picked_after_trainings", results["picked"])
    try:
        pick = Mixture.subset(datasets, picked)
    except MixtureError as error:
        raise InputError(f"{path}: {error}") from None
    if sampling == "balanced":
        return pick
    missing = [name for name in picked if sizes.get(name, 0) <= 0]
    if missing:
        raise InputError(
            f"{folder} drew examples in proportion to the datasets' sizes: say how many examples "
            f"{missing[0]!r} has "
            f"({argument('sizes', f'{missing[0]}=N')}), and so for each of {picked}"
        )
    return Mixture.normalised({name: float(sizes[name]) if name in picked else 0.0 for name in datasets})


def _of_file(path: Path) -> Mixture:
    content = read_json(path, "a mixture")
    if not isinstance(content, dict):
        raise InputError(f'{path} is not a mixture: wanted {{"a": 0.3, …}}, got {type(content).__name__}')
    if isinstance(content.get("datasets"), list):
        check_keys(content, ("datasets", "weights"), str(path))
        names, weights = content["datasets"], content.get("weights")
        if not isinstance(weights, list) or len(weights) != len(names):
            raise InputError(f"{path}: wanted as many weights as datasets ({len(names)}), got {weights!r}")
    else:
        names, weights = list(content), list(content.values())
    return _mixture(str(path), names, weights)


def _typed(text: str) -> Mixture:
    pairs = [part.strip().rpartition("=") for part in text.split(",") if part.strip()]
    names = [name.strip() for name, _, _ in pairs]
    try:
        weights = [float(value) for _, _, value in pairs]
    except ValueError:
        raise InputError(f"{text!r}: wanted weights like a=0.3,b=0.7") from None
    return _mixture(repr(text), names, weights)


def _mixture(where: str, names: list[Any], weights: list[Any]) -> Mixture:
    if not all(isinstance(name, str) and name for name in names):
        raise InputError(f"{where}: wanted dataset names, got {names}")
    if not all(isinstance(weight, int | float) and not isinstance(weight, bool) for weight in weights):
        raise InputError(f"{where}: wanted numbers as weights, got {weights}")
    try:
        total = math.fsum(weights)
        if len(set(names)) != len(names) or abs(total - 1) > TYPED_TOLERANCE or min(weights) < 0:
            # `Mixture` says which of them is wrong.
            return Mixture(tuple(names), tuple(map(float, weights)))
        return Mixture(tuple(names), tuple(weight / total for weight in weights))
    except (MixtureError, OverflowError) as error:
        raise InputError(f"{where}: {error}") from None
