"""Curvature of a finished run: tables at its base, and the quadratic model of its target's loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from analysis.curvature.batch_products import Matrix
from analysis.curvature.density import Density, density
from analysis.curvature.differences import Differences, second_differences
from analysis.curvature.quadratic import QuadraticModel, quadratic_model
from analysis.curvature.spectrum import Spectrum, spectrum
from analysis.curvature.tables import Curvature, curvature
from analysis.curvature.trace import Trace, trace
from analysis.trained_run import TrainedRun
from m2m.mixture import Mixture, all_subsets, weight_matrix
from m2m.support.arrays import Floats

#: Eigenvalues asked of each spectrum, products of each trace, steps and probes of each density.
EIGENVALUES, PRODUCTS, STEPS, PROBES = 4, 18, 32, 4


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
        target: Name of the target of the quadratic model.
        model: The target's loss over all mixtures, to second order.
        mixtures: Every subset of the datasets. [M]
        predicted: The model's loss of each subset's merged model, nat. [M]
        merged: The loss that model really has, nat. [M]
        forward: The same quadratic model from merged losses alone; None if not asked for.
        spectra: Each dataset's spectrum; empty if not asked for.
    """

    matrix: Matrix
    tables: Curvature
    target: str
    model: QuadraticModel
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
        target: Target of the quadratic model; None: the one the run chose for.
        forward: Whether to make the quadratic model again from merged losses alone.
        spectra: Whether to find each dataset's spectrum: its ends, its density and its trace.
        matrix: What stands for H: the Hessian or the Gauss-Newton matrix.

    Returns:
        The study.
    """
    name, chosen = run.target_named(target)
    examples = chosen.validation
    model = quadratic_model(run.landscape, examples, run.experts, matrix=matrix)
    mixtures = tuple(all_subsets(run.datasets))

    def loss(weights: Floats) -> float:
        alpha = torch.from_numpy(weights).to(run.experts)
        return run.landscape.value(examples, at=alpha @ run.experts)

    weights = np.array(weight_matrix(mixtures))
    return CurvatureStudy(
        matrix=matrix,
        tables=curvature(run.landscape, run.experts, run.datasets, matrix=matrix),
        target=name,
        model=model,
        mixtures=mixtures,
        predicted=model.predict(weights),
        merged=np.array([loss(row) for row in weights]),
        forward=second_differences(loss, len(run.datasets)) if forward else None,
        spectra={name: _spectrum(run, name, matrix) for name in (run.datasets if spectra else ())},
    )


def _spectrum(run: TrainedRun, dataset: str, matrix: Matrix) -> DatasetSpectrum:
    where = run.landscape, run.setup.datasets[dataset]
    return DatasetSpectrum(
        ends=spectrum(*where, EIGENVALUES, tolerance=1e-3, seed=run.seed, matrix=matrix),
        density=density(*where, STEPS, PROBES, seed=run.seed, matrix=matrix),
        hutchinson=trace(*where, PRODUCTS, seed=run.seed, matrix=matrix),
        hutch_plus_plus=trace(*where, PRODUCTS, seed=run.seed, matrix=matrix, sketched=True),
    )
