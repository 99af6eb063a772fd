"""What a run's models say, without training and without scores: cosines, residuals, curvature."""

from __future__ import annotations

import torch

from analysis.curvature.tables import curvature
from analysis.orthogonality.runs import of_run as orthogonality_of_run
from analysis.trained_run import TrainedRun, open_run
from analysis.validate.grid import over_datasets, over_mixtures
from analysis.validate.verdict import Evidence
from m2m.errors import InputError
from m2m.mixture import weight_matrix
from m2m.pipeline.run_folder import RunFolder

#: Examples a dataset for curvature: its tables settle early, and a product costs two gradients.
EXAMPLES = 8


def of_models(folder: RunFolder, seed: int, *, with_curvature: bool) -> dict[str, Evidence]:
    """Measure the geometry of a run's models.

    Args:
        folder: The run folder; experts must be there.
        seed: Seed of the resampling.
        with_curvature: Whether curvature is measured as well, which takes longest.

    Returns:
        Evidence by claim.
    """
    study = orthogonality_of_run(folder.root)
    found = {"orthogonal": over_datasets(abs(study.whole.cosine), "pairs of datasets")}
    run = open_run(folder.root, EXAMPLES, float64=False)  # intervals over datasets are far wider
    if run.mixtures:
        moves = [run.displacement(mixture, run.seed) for mixture in run.mixtures]
        trained = torch.stack([move for move in moves if move is not None])
        weights = torch.tensor(weight_matrix(run.mixtures), dtype=run.experts.dtype)
        relative = ((trained - weights @ run.experts).norm(dim=1) / trained.norm(dim=1)).numpy()
        found["first_order"] = over_mixtures(
            lambda chosen: float(relative[chosen].mean()), len(relative), seed, "mixtures"
        )
    if with_curvature:
        found["curvature_dominant"] = _dominance(run)
    return found


def _dominance(run: TrainedRun) -> Evidence:
    rows = "pairs of datasets, both ways"
    try:
        gamma = curvature(run.landscape, run.experts, run.datasets).gamma
    except InputError as error:  # one claim less is no reason to end a validation of hours
        return Evidence(None, None, None, 0, rows, "dataset jackknife", str(error))
    return over_datasets(gamma, rows)
