"""Curvature of a finished run: tables at its base, and the quadratic expansion of its target's loss."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from analysis.curvature.products import Matrix
from analysis.curvature.quadratic import (
    Differences,
    QuadraticExpansion,
    quadratic_expansion,
    second_differences,
)
from analysis.curvature.spectrum import Density, Spectrum, Trace, density, spectrum, trace
from analysis.curvature.tables import Curvature, curvature
from analysis.results import Reasons
from m2m.mixture import Mixture, all_subsets, weight_matrix
from m2m.support.arrays import Floats

if TYPE_CHECKING:  # it imports the loss surface, and with it this room
    from analysis.trained_run import TrainedRun

#: Eigenvalues asked of each spectrum, products of each trace, steps and probes of each density.
EIGENVALUES, PRODUCTS, STEPS, PROBES = 4, 18, 32, 4
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


@dataclass(frozen=True)
class DatasetSpectrum:
    """What the spectrum of one dataset's curvature looks like.

    Attributes:
        ends: Eigenvalues at both ends.
        density: Where all of them lie.
        hutchinson: The trace by Hutchinson's estimate.
        hutch_plus_plus: The trace by Hutch++, from as many products.
    """

    ends: Spectrum
    density: Density
    hutchinson: Trace
    hutch_plus_plus: Trace


@dataclass(frozen=True)
class CurvatureStudy:
    """Curvature at a run's base.

    Attributes:
        matrix: What stands for H: the Hessian or the Gauss-Newton matrix.
        tables: γ, interactions and norms over the datasets.
        target: Name of the target of the quadratic expansion.
        model: The target's loss over all mixtures, to second order.
        mixtures: Every subset of the datasets. [M]
        predicted: The model's loss of each subset's merged model, nat. [M]
        merged: The loss that model really has, nat. [M]
        forward: The same expansion from merged losses alone; None if not asked for.
        spectra: Each dataset's spectrum; empty if not asked for.
    """

    matrix: Matrix
    tables: Curvature
    target: str
    model: QuadraticExpansion
    mixtures: tuple[Mixture, ...]
    predicted: Floats
    merged: Floats
    forward: Differences | None
    spectra: dict[str, DatasetSpectrum]


def of_run(
    run: TrainedRun,
    target: str | None = None,
    *,
    forward: bool = False,
    spectra: bool = False,
    matrix: Matrix = "hessian",
) -> CurvatureStudy:
    """Measure the curvature at a run's base along its gradients and task vectors.

    Args:
        run: The run, opened.
        target: Target of the quadratic expansion; None: the one the run chose for.
        forward: Whether to make the expansion again from merged losses alone.
        spectra: Whether to find each dataset's spectrum: its ends, its density and its trace.
        matrix: What stands for H: the Hessian or the Gauss-Newton matrix.

    Returns:
        The study.
    """
    name, chosen = run.target_named(target)
    examples = chosen.validation
    model = quadratic_expansion(run.surface, examples, run.experts, matrix=matrix)
    mixtures = tuple(all_subsets(run.datasets))

    def loss(weights: Floats) -> float:
        alpha = torch.from_numpy(weights).to(run.experts)
        return run.surface.value(examples, at=alpha @ run.experts)

    weights = np.array(weight_matrix(mixtures))
    return CurvatureStudy(
        matrix=matrix,
        tables=curvature(run.surface, run.experts, run.datasets, matrix=matrix),
        target=name,
        model=model,
        mixtures=mixtures,
        predicted=model.predict(weights),
        merged=np.array([loss(row) for row in weights]),
        forward=second_differences(loss, len(run.datasets)) if forward else None,
        spectra={name: _spectrum_of(run, name, matrix) for name in (run.datasets if spectra else ())},
    )


def _spectrum_of(run: TrainedRun, dataset: str, matrix: Matrix) -> DatasetSpectrum:
    where = run.surface, run.setup.datasets[dataset]
    return DatasetSpectrum(
        ends=spectrum(*where, EIGENVALUES, tolerance=1e-3, seed=run.seed, matrix=matrix),
        density=density(*where, STEPS, PROBES, seed=run.seed, matrix=matrix),
        hutchinson=trace(*where, PRODUCTS, seed=run.seed, matrix=matrix),
        hutch_plus_plus=trace(*where, PRODUCTS, seed=run.seed, matrix=matrix, sketched=True),
    )


def to_json(study: CurvatureStudy) -> dict[str, Any]:
    """Lay a study out for JSON; `forward` is there if it was asked for."""
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
    content["spectra"] = {name: _spectrum_json(found) for name, found in study.spectra.items()}
    return content


def to_tables(study: CurvatureStudy) -> dict[str, pd.DataFrame]:
    """Lay out γ by pairs, interactions by triples, quadratic predictions; points and curves of densities."""
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


def _spectrum_json(found: DatasetSpectrum) -> dict[str, Any]:
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
