"""The papers' figures and tables on real models: experiments, figures and the page of results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.studies.outcome import Outcome
from m2m.errors import ConfigError
from m2m.executors.choice import open_executor
from m2m.executors.protocol import Executor
from m2m.support.arguments import argument
from m2m.support.checked import Positive, checked
from m2m.support.outputs import Output, check_outputs
from m2m.support.progress import Progress, nobody
from m2m.support.schema import did_you_mean

if TYPE_CHECKING:
    from analysis.papers.experiment import Experiment, Size
    from analysis.papers.redraw import Done


@checked()
def redraw_papers(
    out: str | Path,
    *,
    page: str | Path | None = None,
    full: bool = False,
    only: Sequence[str] = (),
    workers: Positive | None = None,
    executor: str = "local",
    progress: Progress | None = None,
) -> Outcome[list[Done]]:
    """Redo both papers' experiments, redraw their figures, write the page (`m2m-analysis papers`).

    What was found before stays unless its configuration or the code has changed; what was interrupted goes on
    where it was.

    Args:
        out: Folder of runs, models, results and figures.
        page: The page, Markdown; its figures go into `img/results` beside it. None: `results.md` in `out`.
        full: Whether everything is done at the size that takes a night, and not at that of half an hour.
        only: Experiments to do, by name; none: all. The page tells of all that were done at this size.
        workers: Worker processes; None: one a core, or all that a Ray cluster has.
        executor: Where they are: `local`, `ray` or `ray://HOST:PORT`, as for `m2m.run`.
        progress: Called with (done, total, what).

    Returns:
        What was done and what was there already.

    Raises:
        ConfigError: If there is no such experiment, or an example that one runs is not there.
    """
    from analysis.papers.catalogue import EXPERIMENTS

    names = [one.name for one in EXPERIMENTS]
    for name in only:
        if name not in names:
            hint = did_you_mean(name, names)
            raise ConfigError(f"{argument('only')}: no experiment {name!r}{hint}; there are {names}")
    chosen = [one for one in EXPERIMENTS if not only or one.name in only]
    size: Size = "full" if full else "fast"
    return redraw(chosen, Path(out), page, size, open_executor(executor, workers), progress or nobody)


def redraw(
    experiments: Sequence[Experiment],
    out: Path,
    page: str | Path | None,
    size: Size,
    executor: Executor,
    progress: Progress,
) -> Outcome[list[Done]]:
    """Do these experiments, and write the page of all whose results are in `out`; see `redraw_papers`."""
    from analysis.papers.redraw import redo, results_folder
    from paper_figs.page import write_page

    place = out / "results.md" if page is None else Path(page)
    given = [] if page is None else [Output(argument("page", page), place)]
    check_outputs([Output(argument("out", out), out, "folder"), *given])
    done = redo(experiments, out, size, executor, progress)
    figures = write_page(results_folder(out, size), out / "figures" / size, place, size)
    content: dict[str, Any] = {
        "size": size,
        "experiments": [asdict(one) for one in done],
        "page": str(place),
        "figures": [str(path) for path in figures],
    }
    return Outcome(done, content, out)
