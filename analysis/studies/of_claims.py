"""The study of both papers' claims: a verdict each, from real runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.results import write_results
from analysis.studies.outcome import Outcome, checked_folder
from m2m.executors.choice import open_executor
from m2m.support.checked import Natural, Positive, checked
from m2m.support.files import write_atomically
from m2m.support.progress import Progress, nobody

if TYPE_CHECKING:
    from analysis.validate.validation import Validation


@checked()
def validate_claims(
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    trainings: bool = True,
    curvature: bool = True,
    workers: Positive | None = None,
    executor: str = "local",
    seed: Natural = 0,
    progress: Progress | None = None,
) -> Outcome[Validation]:
    """Ask real runs about every claim of both papers (`m2m-analysis validate`).

    Args:
        sources: Finished run folders, which are only read, and configurations, which are run first.
        out: Where to write.
        trainings: Whether to train what is needed beyond the runs' own models.
        curvature: Whether to compute Hessians at the base.
        workers: Worker processes; None: one a core, or all that a Ray cluster has.
        executor: Where they are: `local`, `ray` or `ray://HOST:PORT`, as for `m2m.run`.
        seed: Seed of resampling.
        progress: Called with (done, total, what).

    Returns:
        A verdict a claim: holds, fails or unresolved, with its interval.

    Raises:
        InputError: If a source is neither a run folder nor a configuration.
    """  # noqa: DOC502 - raised by what is called
    from analysis.validate import Options, pages, validate
    from paper_figs.merge_to_mix import verdicts

    folder = checked_folder(out, pages.NAME, [source for source in sources if os.path.isfile(source)])
    options = Options(
        out=folder, trainings=trainings, curvature=curvature, executor=open_executor(executor, workers),
        seed=seed, progress=progress or nobody,
    )  # fmt: skip
    found = validate(list(map(str, sources)), options)
    content = pages.to_json(found)
    write_results(
        folder,
        pages.NAME,
        content | {"source": pages.provenance(found)},
        pages.to_tables(found),
        pages.REASONS,
    )
    write_atomically(folder / f"{pages.NAME}.md", pages.to_page(found))
    verdicts.draw(folder, folder)
    return Outcome(found, content, folder, pages.REASONS)
