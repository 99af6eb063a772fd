"""Curvature of a finished run: tables at its base, and the quadratic model of its target's loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from analysis.curvature.differences import Differences, second_differences
from analysis.curvature.quadratic import QuadraticModel, quadratic_model
from analysis.curvature.spectrum import Spectrum, Trace, spectrum, trace
from analysis.curvature.tables import Curvature, curvature
from analysis.trained_run import TrainedRun
from m2m.mixture import Mixture, all_subsets, weight_matrix

Floats = NDArray[np.float64]
#: Eigenvalues asked of each spectrum, and probes of each trace.
EIGENVALUES, PROBES = 4, 16


@dataclass(frozen=True)
class CurvatureStudy:
    """Curvature at a run's base.

    Attributes:
        tables: γ, interactions and norms over the datasets.
        target: Name of the target of the quadratic model.
        model: The target's loss over all mixtures, to second order.
        mixtures: Every subset of the datasets. [M]
        predicted: The model's loss of each subset's merged model, nat. [M]
        merged: The loss that model really has, nat. [M]
        forward: The same quadratic model from merged losses alone; None if not asked for.
        spectra: Ends of each dataset's spectrum and its trace; empty if not asked for.
    """

    tables: Curvature
    target: str
    model: QuadraticModel
    mixtures: tuple[Mixture, ...]
    predicted: Floats
    merged: Floats
    forward: Differences | None
    spectra: dict[str, tuple[Spectrum, Trace]]


def of_run(
    run: TrainedRun, target: str | None = None, *, forward: bool = False, spectra: bool = False
) -> CurvatureStudy:
    """Measure the curvature at a run's base along its gradients and task vectors.

    Args:
        run: The run, opened.
        target: Target of the quadratic model; None: the one the run chose for.
        forward: Whether to make the quadratic model again from merged losses alone.
        spectra: Whether to find the ends of each dataset's spectrum and its trace.

    Returns:
        The study.
    """
    name, chosen = run.target_named(target)
    examples, data = chosen.validation, run.setup.datasets
    model = quadratic_model(run.landscape, examples, run.experts)
    mixtures = tuple(all_subsets(run.datasets))

    def loss(weights: Floats) -> float:
        alpha = torch.from_numpy(weights).to(run.experts)
        return run.landscape.value(examples, at=alpha @ run.experts)

    weights = np.array(weight_matrix(mixtures))
    ends = {
        dataset: (
            spectrum(run.landscape, data[dataset], EIGENVALUES, tolerance=1e-3, seed=run.seed),
            trace(run.landscape, data[dataset], PROBES, seed=run.seed),
        )
        for dataset in (run.datasets if spectra else ())
    }
    return CurvatureStudy(
        tables=curvature(run.landscape, run.experts, run.datasets),
        target=name,
        model=model,
        mixtures=mixtures,
        predicted=model.predict(weights),
        merged=np.array([loss(row) for row in weights]),
        forward=second_differences(loss, len(run.datasets)) if forward else None,
        spectra=ends,
    )
