"""`m2m run`: the best mixture of a configuration's datasets, from data to figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from m2m.executors.choice import check_executor
from m2m.mixture import Mixture
from m2m.pipeline import claiming
from m2m.pipeline import config as configuration
from m2m.pipeline.advice import Until
from m2m.pipeline.config import RunConfig
from m2m.pipeline.first_look import look_at
from m2m.pipeline.logs import Follower
from m2m.pipeline.run_folder import RunFolder, to_train_on
from m2m.pipeline.trackers import open_logs
from m2m.scoring.means import Means, Mode
from m2m.support.checked import Positive, checked
from m2m.support.progress import Progress, nobody
from m2m.support.units import parse_bytes
from m2m.verbs.theory import adviser, study_run


@dataclass(frozen=True)
class RunReport:
    """What a run found.

    Attributes:
        folder: The run folder.
        results: The content of its `results.json`: `picked` by merging, `picked_after_trainings` where
            mixtures were trained to judge it, and `why`; the baselines' choices, scores on `test` and
            `validation` by name, `fidelity` by target where every mixture was really trained, `trust` where
            some were.
        page: The report, `report.html`.
        notes: What its user should be told.
    """

    folder: Path
    results: Mapping[str, Any]
    page: Path
    notes: tuple[str, ...] = ()

    @property
    def picked(self) -> Mixture:
        """The mixture to train on: what merging picked, or what trainings showed to be better."""
        return Mixture.subset(self.results["datasets"], to_train_on(self.results))


@checked()
def run(
    config: RunConfig | str | Path,
    out: str | Path,
    *,
    budget: Positive | None = None,
    validate: bool | Positive | None = None,
    until: str | None = None,
    workers: Positive | None = None,
    executor: str = "local",
    mode: Mode = "resident",
    memory: int | str | None = None,
    device: str = "cpu",
    log_to: Sequence[str] = (),
    progress: Progress | None = None,
) -> RunReport:
    """Find the best mixture of a configuration's datasets for its target (Merge to Mix, arXiv 2505.16066).

    Experts → every subset merged and scored on validation → the pick → one real training on it → test scores
    beside the baselines → figures and report. With `validate` every subset is really trained as well, and the
    fidelity of merged scores measured; with a number, so many are, and it is said how far off the best the
    pick may be (`analysis.trust`). The pick may then move to a mixture that training shows to be better. What
    a folder already holds is not done again: after an interruption the same call goes on.

    Args:
        config: The run configuration, or its TOML file.
        out: The run folder; made if need be.
        budget: Most mixtures that are merged and scored; where there are more, a search chooses them. None:
            as the configuration says.
        validate: Whether every subset is really trained, or how many of two or more datasets are, beside
            those that are in any case; None: as the configuration says.
        until: Stops those trainings, as in `P(within 2 %) > 0.9`: when the probability that the pick is
            within 2 % of the range of trained scores of the best is above 0.9. None: as the configuration
            says.
        workers: Worker processes, one thread each; 1 works in this process. None: one a core, or all that a
            Ray cluster has. Local ones import the script anew, so in a script this call then stands under
            `if __name__ == "__main__":`.
        executor: Where they are: `local`; `ray` for the cluster of `RAY_ADDRESS` or this machine; or
            `ray://HOST:PORT`. Its machines must see `out` and the data under the same paths.
        mode: How merged models are scored: `resident`, `streamed`, `stacked`, or `auto` as in `m2m.score`.
        memory: What all workers together may use for that, in bytes or as in `2GiB`; None: half of what the
            device has free.
        device: Where candidates are merged and scored: `cpu`, `cuda`, or `cuda:1` and so on.
        log_to: Who else is told of losses, scores and results: `tensorboard`, `mlflow`, `wandb`, or a
            `m2m.pipeline.logs.RunLog` of one's own as `FILE.py:CLASS` or `MODULE:CLASS`.
        progress: Called with (done, total, step).

    Returns:
        The pick, all scores, and where the report is.

    Raises:
        ConfigError: If the configuration or its set-up is mistaken.
        RunFolderError: If `out` holds anything but a run of this configuration and these data.
    """  # noqa: DOC502 - raised by what is called
    wanted = with_options(loaded(config), budget, validate, until)
    check_executor(executor)
    claiming.check(Path(out), wanted, growing=True)
    look_at(wanted, RunFolder(Path(out)))

    logs = open_logs(log_to, Path.cwd())
    from m2m.pipeline.merge_to_mix import run as merge_to_mix  # torch, which a slip need not wait for
    from m2m.pipeline.report import write_report

    means = means_of(mode, memory, device)
    with Follower(logs, Path(out), progress or nobody) as told:
        folder = merge_to_mix(
            wanted, Path(out), workers=workers, executor=executor, means=means, progress=told, adviser=adviser
        )
        study_run(folder)
        page = write_report(folder.root)
        told.end([folder.results, folder.csv, page])
    return RunReport(folder.root, folder.read_results(), page, (*folder.notes, *told.notes))


def with_options(
    config: RunConfig, budget: int | None, validate: bool | int | None, until: str | None
) -> RunConfig:
    """Put what was asked for in the place of what the configuration says."""
    options = config.run
    if validate is False:  # nothing is trained, so there is nothing to stop
        options = replace(options, until=None)
    elif until is not None:
        Until.parse(until)
    options = replace(
        options,
        budget=options.budget if budget is None else budget,
        validate=options.validate if validate is None else validate,
        until=options.until if until is None else until,
    )
    return replace(config, run=options)


def means_of(mode: Mode, memory: int | str | None, device: str) -> Means:
    """In which way candidates are scored, and with what, as arguments say it."""
    from m2m.scoring.live.device import open_device

    return Means(mode, None if memory is None else parse_bytes(memory), open_device(device))


def loaded(config: RunConfig | str | Path) -> RunConfig:
    """The run configuration, read if it is named."""
    return config if isinstance(config, RunConfig) else configuration.load(config)
