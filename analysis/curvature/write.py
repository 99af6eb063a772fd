"""A curvature study as JSON and tables."""

from __future__ import annotations

import math
from dataclasses import asdict
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from analysis.curvature.runs import CurvatureStudy, DatasetSpectrum
from analysis.results import Reasons
from m2m.support.arrays import Floats

NAME = "curvature"
_ONE_PROBE = "a single probe has no standard error"
#: Why a number may not be there.
REASONS: Reasons = {
    "gamma": "the dataset's own gradient is zero, or its Hessian does not bend it",
    "spearman": "all predicted, or all merged losses are equal",
    "largest_gap_in_stated_errors": "an error is stated as zero",
    "mean": _ONE_PROBE,
    "share_below_resolution": _ONE_PROBE,
    "share_above_resolution": _ONE_PROBE,
}
#: Points at which a density is drawn, and how far beyond the outermost eigenvalues, in its own resolution.
_POINTS, _MARGIN = 400, 3


def to_json(study: CurvatureStudy) -> dict[str, Any]:
    """Lay a study out for a JSON file.

    Args:
        study: The study.

    Returns:
        `matrix`, `datasets`, norms, `gamma`, `interactions`, `quadratic`, `spectra`, and `forward` if it was
        asked for.
    """
    tables = asdict(study.tables)
    error = study.predicted - study.merged
    quadratic = asdict(study.model) | {
        "target": study.target,
        "spearman": _spearman(study.predicted, study.merged),
        "largest_error": float(np.abs(error).max()),
        "mixtures": len(study.mixtures),
    }
    content = {"matrix": study.matrix} | tables | {"gamma": study.tables.gamma, "quadratic": quadratic}
    if study.forward is not None:
        gap = np.abs(study.forward.model.curvature - study.model.curvature)
        content["forward"] = asdict(study.forward) | {
            "largest_gap_in_stated_errors": _largest(gap, study.forward.curvature_error)
        }
    content["spectra"] = {name: _spectrum(found) for name, found in study.spectra.items()}
    return content


def to_tables(study: CurvatureStudy) -> dict[str, pd.DataFrame]:
    """Lay a study out as tables.

    Args:
        study: The study.

    Returns:
        The pairs (Hessian k, direction j) with γ; the interactions (k, i, j); the quadratic predictions; the
        points and the curve of every spectrum's density if there are any.
    """
    tables, names = study.tables, study.tables.datasets
    pairs = [
        {
            "hessian": names[k],
            "direction": names[j],
            "gamma": tables.gamma[k, j],
            "bent_gradient": tables.bent_gradients[k, j],
            "bent_task": tables.bent_tasks[k, j],
            "slope": tables.slopes[k, j],
        }
        for k, j in product(range(len(names)), repeat=2)
    ]
    triples = [
        {"hessian": names[k], "first": names[i], "second": names[j], "value": tables.interactions[k, i, j]}
        for k, i, j in product(range(len(names)), repeat=3)
    ]
    predictions = {
        "mixture": [mixture.label for mixture in study.mixtures],
        "predicted": study.predicted,
        "merged": study.merged,
    }
    found = {
        "": pd.DataFrame(pairs),
        "interactions": pd.DataFrame(triples),
        "quadratic": pd.DataFrame(predictions),
    }
    if study.spectra:
        found["spectrum"] = pd.concat([_nodes(name, one) for name, one in study.spectra.items()])
        found["density"] = pd.concat([_curve(name, one) for name, one in study.spectra.items()])
    return found


def _spearman(predicted: Floats, merged: Floats) -> float:
    varies = len(merged) > 1 and np.ptp(predicted) > 0 and np.ptp(merged) > 0
    return float(spearmanr(predicted, merged).statistic) if varies else math.nan


def _largest(gaps: Floats, errors: Floats) -> float:
    return float((gaps / errors).max()) if (errors > 0).all() else math.nan


def _spectrum(found: DatasetSpectrum) -> dict[str, Any]:
    density = found.density
    beyond = density.resolution
    return asdict(found.ends) | {
        "trace": {
            "hutchinson": asdict(found.hutchinson),
            "hutch_plus_plus": asdict(found.hutch_plus_plus),
        },
        "density": {
            "size": density.size,
            "probes": density.probes,
            "products": density.products,
            "resolution": beyond,
            "mean": density.mean(),
            "share_below_resolution": density.share(-np.inf, -beyond),
            "share_above_resolution": density.share(beyond, np.inf),
        },
    }


def _nodes(dataset: str, found: DatasetSpectrum) -> pd.DataFrame:
    density = found.density
    columns = {"probe": density.probe, "eigenvalue": density.nodes, "weight": density.weights}
    return pd.DataFrame({"dataset": dataset} | columns)


def _curve(dataset: str, found: DatasetSpectrum) -> pd.DataFrame:
    density, width = found.density, found.density.resolution
    low, high = density.nodes.min() - _MARGIN * width, density.nodes.max() + _MARGIN * width
    # A spectrum of one point has no width, and no curve.
    grid = np.linspace(low, high, _POINTS if width > 0 else 0)
    return pd.DataFrame(
        {"dataset": dataset, "eigenvalue": grid, "density": density.smoothed(grid, width or 1)}
    )
