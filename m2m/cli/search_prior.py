"""`m2m search --prior`: the quadratic model of a loss that `m2m-analysis curvature` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from m2m.cli.search_source import Source
from m2m.errors import InputError
from m2m.searching import QuadraticPrior
from m2m.support.doors import read_json

#: What is taken out of the file.
_CURVATURE = {
    "datasets": [str],
    "quadratic": {"constant": float, "slope": [float], "curvature": [[float]], "target": str},
}


def read_prior(path: Path, source: Source, tasks: list[str]) -> QuadraticPrior:
    """Read a prior.

    Args:
        path: `curvature.json`.
        source: Where scores come from; the datasets may be in another order.
        tasks: What the search is about.

    Returns:
        The prior, in the order of the source's datasets.

    Raises:
        InputError: If the file is no such file, or is about other datasets, another target or no loss.
    """
    content = _content(path)
    names, quadratic = content["datasets"], content["quadratic"]
    if sorted(names) != sorted(source.datasets):
        raise InputError(f"{path} is about the datasets {names}, the search about {list(source.datasets)}")
    if tasks != [quadratic["target"]] or source.metrics[tasks[0]] != "loss":
        about = ", ".join(f"{source.metrics[task]} on {task}" for task in tasks)
        raise InputError(
            f"{path} describes the loss on {quadratic['target']}, the search is about {about}: search that "
            f"loss alone, or make another with `m2m-analysis curvature --target`"
        )
    order = [names.index(name) for name in source.datasets]
    try:
        slope = np.array(quadratic["slope"], dtype=float)
        curvature = np.array(quadratic["curvature"], dtype=float)
        prior = QuadraticPrior(float(quadratic["constant"]), slope, curvature)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: {error}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return QuadraticPrior(prior.value, slope[order], curvature[np.ix_(order, order)])


def _content(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = read_json(
        path, "a curvature.json of `m2m-analysis curvature`", shape=_CURVATURE
    )
    return content
