"""`m2m run` and `m2m mix`: the best mixture of a configuration's datasets, from data to figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m2m.errors import ConfigError, RunFolderError
from m2m.exporting import Sources, render
from m2m.mixture import Mixture
from m2m.pipeline import config as configuration
from m2m.pipeline import run as merge_to_mix
from m2m.pipeline.config import RunConfig
from m2m.pipeline.mix_options import MixOptions
from m2m.pipeline.report import write_report
from m2m.scoring import Means, files_of_tasks
from m2m.scoring.bench import Bench
from m2m.scoring.choice import Mode
from m2m.scoring.live.device import open_device
from m2m.scoring.models import Experts, paths_of
from m2m.scoring.tasks import TaskOptions
from m2m.setups.protocol import Split
from m2m.support.arguments import argument
from m2m.support.checked import Natural, Positive, checked
from m2m.support.files import write_atomically
from m2m.support.outputs import Output, check_outputs, results_in
from m2m.support.progress import Progress
from m2m.support.units import parse_bytes
from m2m.verbs.export import check_format
from m2m.verbs.score import bench_of, files_of_setup
from m2m.verbs.theory import draw_mix, study_run

if TYPE_CHECKING:
    from m2m.mixing import MixResult


@dataclass(frozen=True)
class RunReport:
    """What a run found.

    Attributes:
        folder: The run folder.
        results: The content of its `results.json`: `picked`, the baselines' choices, scores on `test` and
            `validation` by name, `fidelity` by target where every mixture was really trained.
        page: The report, `report.html`.
        notes: What its user should be told.
    """

    folder: Path
    results: Mapping[str, Any]
    page: Path
    notes: tuple[str, ...] = ()

    @property
    def picked(self) -> Mixture:
        """The mixture to train on."""
        return Mixture.subset(self.results["datasets"], self.results["picked"])


@checked()
def run(
    config: RunConfig | str | Path,
    out: str | Path,
    *,
    validate: bool | None = None,
    workers: Positive | None = None,
    mode: Mode = "resident",
    memory: int | str | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> RunReport:
    """Find the best mixture of a configuration's datasets for its target (Merge to Mix, arXiv 2505.16066).

    Experts → every subset merged and scored on validation → the pick → one real training on it → test scores
    beside the baselines → figures and report; with `validate` every subset is really trained as well, and the
    fidelity of merged scores measured. What a folder already holds is not done again: after an interruption
    the same call goes on.

    Args:
        config: The run configuration, or its TOML file.
        out: The run folder; made if need be.
        validate: Whether every subset is really trained; None: as the configuration says.
        workers: Local worker processes, one thread each; 1 works in this process. None: one a core. They
            import the script anew, so in a script this call then stands under `if __name__ == "__main__":`.
        mode: How merged models are scored: `resident`, `streamed`, `stacked`, or `auto` as in `m2m.score`.
        memory: What all workers together may use for that, in bytes or as in `2GiB`; None: half of what the
            device has free.
        device: Where candidates are merged and scored: `cpu`, `cuda`, or `cuda:1` and so on.
        progress: Called with (done, total, step).

    Returns:
        The pick, all scores, and where the report is.

    Raises:
        ConfigError: If the configuration or its set-up is mistaken.
        RunFolderError: If `out` holds anything but a run of this configuration and these data.
    """  # noqa: DOC502 - raised by what is called
    means = _means(mode, memory, device)
    wanted = _loaded(config)
    if validate is not None:
        wanted = replace(wanted, run=replace(wanted.run, validate=validate))
    folder = merge_to_mix(wanted, Path(out), workers=workers, means=means, progress=progress)
    study_run(folder)
    page = write_report(folder.root)
    return RunReport(folder.root, folder.read_results(), page, folder.notes)


@checked()
def mix(
    config: RunConfig | str | Path | None,
    out: str | Path,
    *,
    base: str | Path | None = None,
    experts: Experts | None = None,
    tasks: Sequence[str] = (),
    setup: str | Path | None = None,
    targets: Sequence[str] = (),
    split: Split = "validation",
    model: str | None = None,
    context: Positive | None = None,
    options: TaskOptions | None = None,
    seed: Natural | None = None,
    train: bool = False,
    workers: Positive | None = None,
    mode: Mode = "resident",
    memory: int | str | None = None,
    device: str = "cpu",
    exports: Mapping[str, str | Path] | None = None,
    sources: Sources | None = None,
    progress: Progress | None = None,
) -> MixResult:
    """Find the best shares of a configuration's datasets (MergeMix, arXiv 2601.17858, Sec. 3).

    Experts → merged models at first mixtures on the simplex, scored on every target → a fitted surface each →
    argmax of the utility and mean of the top k → real merges of both → λ*, with intervals from resampling,
    and the figure. A folder of `m2m.run` serves, its experts are used, and it is left as that run made it.
    With `base` and `experts` the experts are those, and nothing is trained. After an interruption the same
    call goes on.

    Args:
        config: The run configuration, or its TOML file; its `[mix]` table says how to search. With `base`
            and `experts` only that table is read, and its `capabilities` are weights by task; None: the
            defaults, all tasks alike.
        out: The run folder, results go to `out/mix`; of given experts a folder for the results. Made if need
            be.
        base: Checkpoint of the base model θ₀.
        experts: The experts' checkpoints or adapters, by name; or only paths. [N]
        tasks: Tasks as the command line spells them; their first metrics count.
        setup: A run configuration whose `[setup]` has the model and the targets, instead of `tasks`.
        targets: Targets of `setup`.
        split: Split of the targets, `validation` or `test`.
        model: Factory of the module, `FILE.py:FUNCTION`; None if `base` is a Hugging Face folder.
        context: Longest input of a task's texts, in tokens.
        options: What else is said about the tasks.
        seed: Decides all random choices for given experts; a run configuration has its own.
        train: Whether models are really trained on λ* and on equal shares, and scored.
        workers: Local worker processes, one thread each; 1 works in this process. None: one a core.
        mode: How merged models are scored: `resident`, `streamed`, `stacked`, or `auto` as in `m2m.score`.
        memory: What all workers together may use for that, in bytes or as in `2GiB`; None: half of what the
            device has free.
        device: Where candidates are merged and scored: `cpu`, `cuda`, or `cuda:1` and so on.
        exports: Files to write λ* to, by the trainer's format (`m2m.exporting.FORMATS`).
        sources: What the trainers need to know beside the shares.
        progress: Called with (done, total, step).

    Returns:
        What was found; also written.

    Raises:
        ConfigError: If the configuration or its set-up is mistaken, or there is no such format.
        RunFolderError: If `out` holds anything but a run of this configuration and these data.
    """  # noqa: DOC502 - raised by what is called
    from m2m.mixing import mix as mergemix

    files = {check_format(name, "exports"): Path(path) for name, path in (exports or {}).items()}
    written = [Output(argument("exports", f"{n}={p}"), p) for n, p in files.items()]
    means = _means(mode, memory, device)
    if base is not None or experts is not None:
        if base is None or experts is None or train or workers is not None:
            raise ConfigError(
                f"{argument('base')} goes with {argument('experts')}, and without {argument('train')} and "
                f"{argument('workers')}: nothing is trained"
            )
        bench = bench_of(base, tasks, setup, targets, split, model, context, options, progress)
        read = [base, *paths_of(experts), *files_of_tasks(tasks, model, options), *files_of_setup(setup)]
        result = _mix_experts(
            config, Path(out), base, experts, bench, seed or 0, means, [*written], read, progress
        )
    else:
        of_experts = {"tasks": tasks, "setup": setup, "targets": targets, "model": model, "context": context}
        said = [name for name, value in {**of_experts, "seed": seed}.items() if value not in (None, (), [])]
        said += ["split"] if split != "validation" else []
        if config is None or said:
            raise ConfigError(
                f"mix needs a run configuration, or {argument('base')}, {argument('experts')} and a task"
                + (f"; {argument(said[0])} goes with the latter" if said else "")
            )
        wanted = _loaded(config)
        check_outputs(written, inputs=[wanted.path, *filter(wanted.reads, files.values())])
        result = mergemix(wanted, Path(out), train=train, workers=workers, means=means, progress=progress)
    for name, path in files.items():
        write_atomically(path, render(result.mixture, name, sources))
    draw_mix(result.folder)
    return result


def _mix_experts(
    config: RunConfig | str | Path | None,
    out: Path,
    base: str | Path,
    experts: Experts,
    bench: Callable[[], Bench],
    seed: int,
    means: Means,
    written: list[Output],
    read: Iterable[str | Path],
    progress: Progress | None,
) -> MixResult:
    from m2m.mixing import mix_experts

    how = MixOptions()
    if config is not None:
        how = config.mix if isinstance(config, RunConfig) else configuration.load_mix(config)
    _check_own(out)
    said, table = argument("out", out), out / "scores.sqlite"
    own = [*results_in(said, out, "mix"), *results_in(said, out, "candidates")[1:]]
    if table.exists():
        own.append(Output(said, table, "table", own=True))
    inputs = [*read, *([config] if isinstance(config, str | Path) else ())]
    check_outputs([*own, *written], inputs=inputs)
    where = f"{config} [mix]" if isinstance(config, str | Path) else ""
    return mix_experts(base, experts, bench, out, how, where=where, seed=seed, means=means, progress=progress)


def _check_own(out: Path) -> None:
    # A folder of another search of experts may be gone on with; what is anybody else's is not written over.
    ours = (out / "mix.json").exists() or (out / "scores.sqlite").exists()
    theirs = [name for name in ("run.json", "config.toml", "results.json") if (out / name).exists()]
    if not ours:
        theirs += [name for name in ("mixture.json", "candidates.csv") if (out / name).exists()]
    if theirs:
        raise RunFolderError(
            f"{argument('out', out)}: holds {theirs[0]} of something else; name another folder for what is "
            "found of given experts"
        )


def _means(mode: Mode, memory: int | str | None, device: str) -> Means:
    return Means(mode, None if memory is None else parse_bytes(memory), open_device(device))


def _loaded(config: RunConfig | str | Path) -> RunConfig:
    return config if isinstance(config, RunConfig) else configuration.load(config)
