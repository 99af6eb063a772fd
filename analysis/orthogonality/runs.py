"""Orthogonality of a run folder's experts."""

from __future__ import annotations

from pathlib import Path

from analysis.orthogonality.measure import Study, orthogonality
from m2m.checkpoint import verify
from m2m.errors import InputError
from m2m.mixture import Mixture
from m2m.pipeline.run_folder import RunFolder
from m2m.support.progress import Progress


def of_run(
    root: str | Path,
    *,
    rank: int = 0,
    memory: str | int = "256MiB",
    threads: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Study:
    """Measure the experts of a run's first training seed.

    Args:
        root: The run folder; the run must have finished.
        rank: Dimensions of the subspaces of each matrix to compare; 0 for none.
        memory: Most memory that reading may add to what the process holds.
        threads: Workers; as many as there are usable cores when not given.
        seed: Seed of the random starts of subspaces.
        progress: Is told bytes looked at, bytes in all and what is going on.

    Returns:
        The study.

    Raises:
        InputError: If the folder is not a finished run.
        CheckpointError: If the base or an expert is not what its manifest says it was when it was written.
    """  # noqa: DOC502 - raised by what is called
    folder = RunFolder(Path(root))
    results = folder.read_results("datasets", "seed")
    if not results or not folder.base.exists():
        raise InputError(f"{root} is not a finished run folder: it has no {folder.results.name} or no base")
    names = results["datasets"]
    experts = [folder.model(Mixture.subset(names, [name]), results["seed"]) for name in names]
    for model in (folder.base, *experts):
        verify(model)
    return orthogonality(
        folder.base,
        experts,
        names=names,
        rank=rank,
        memory=memory,
        threads=threads,
        seed=seed,
        progress=progress,
    )
