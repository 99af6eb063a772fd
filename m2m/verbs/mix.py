"""`m2m mix`: the best shares of a configuration's datasets, or of those that experts were trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from m2m.errors import ConfigError, RunFolderError
from m2m.executors.choice import check_executor
from m2m.exporting import Sources, render
from m2m.pipeline import claiming
from m2m.pipeline import config as configuration
from m2m.pipeline.config import RunConfig
from m2m.pipeline.first_look import look_at
from m2m.pipeline.mix_options import MixOptions
from m2m.pipeline.run_folder import RunFolder
from m2m.scoring import Means, files_of_tasks
from m2m.scoring.means import Mode
from m2m.scoring.models import Experts, paths_of
from m2m.scoring.tasks import TaskOptions
from m2m.setups.protocol import Split
from m2m.support.arguments import argument
from m2m.support.checked import Natural, Positive, checked
from m2m.support.files import write_atomically
from m2m.support.outputs import Output, check_outputs, results_in
from m2m.support.progress import Progress
from m2m.verbs.export import check_format
from m2m.verbs.run import loaded, means_of
from m2m.verbs.run_sources import with_run_s
from m2m.verbs.score import bench_of, files_of_setup
from m2m.verbs.theory import draw_mix

if TYPE_CHECKING:
    from m2m.mixing import MixResult


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
    executor: str = "local",
    mode: Mode = "resident",
    memory: int | str | None = None,
    device: str = "cpu",
    exports: Mapping[str, str | Path] | None = None,
    strict: bool = False,
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
        workers: Worker processes, one thread each; None: one a core or all that a Ray cluster has. For given
            experts, None works in this process with all its cores.
        executor: Where they are: `local`, `ray` or `ray://HOST:PORT`, as for `m2m.run`.
        mode: How merged models are scored: `resident`, `streamed`, `stacked`, or `auto` as in `m2m.score`.
        memory: What all workers together may use for that, in bytes or as in `2GiB`; None: half of what the
            device has free.
        device: Where candidates are merged and scored: `cpu`, `cuda`, or `cuda:1` and so on.
        exports: Files to write λ* to, by the trainer's format (`m2m.exporting.FORMATS`).
        strict: Of given experts, whether what makes an average of them doubtful (`m2m.merging.doubts`) is an
            error; a warning where not.
        sources: What the trainers need to know beside the shares.
        progress: Called with (done, total, step).

    Returns:
        What was found; also written.

    Raises:
        ConfigError: If the configuration or its set-up is mistaken, or there is no such format.
        RunFolderError: If `out` holds anything but a run of this configuration and these data.
    """  # noqa: DOC502 - raised by what is called
    check_executor(executor)
    files = {check_format(name, "exports"): Path(path) for name, path in (exports or {}).items()}
    asked = _Asked(
        out=Path(out), means=means_of(mode, memory, device), files=files, progress=progress,
        base=base, experts=experts, tasks=tasks, setup=setup, targets=targets, split=split, model=model,
        context=context, options=options, seed=seed, train=train, workers=workers,
        executor=executor, strict=strict,
    )  # fmt: skip
    given = base is not None or experts is not None
    result = _of_experts(config, asked) if given else _of_run(config, asked)
    for name, path in files.items():
        lie = with_run_s(sources or Sources(), Path(out), result.mixture.members, name)
        write_atomically(path, render(result.mixture, name, lie))
    draw_mix(result.folder)
    return result


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What was asked for, as `mix` has it."""

    out: Path
    means: Means
    files: Mapping[str, Path]
    progress: Progress | None
    base: str | Path | None
    experts: Experts | None
    tasks: Sequence[str]
    setup: str | Path | None
    targets: Sequence[str]
    split: Split
    model: str | None
    context: int | None
    options: TaskOptions | None
    seed: int | None
    train: bool
    workers: int | None
    executor: str
    strict: bool

    @property
    def written(self) -> list[Output]:
        """The files for trainers."""
        return [Output(argument("exports", f"{name}={path}"), path) for name, path in self.files.items()]

    @property
    def about_experts(self) -> list[str]:
        """Arguments that say something about given experts only, of those that were given."""
        several = {"tasks": self.tasks, "targets": self.targets}
        single = {"setup": self.setup, "model": self.model, "context": self.context, "seed": self.seed}
        said = [name for name, values in several.items() if len(values)]
        said += [name for name, value in single.items() if value is not None]
        said += ["split"] if self.split != "validation" else []
        return said + (["strict"] if self.strict else [])


def _of_run(config: RunConfig | str | Path | None, asked: _Asked) -> MixResult:
    from m2m.mixing import mix as mergemix

    said = asked.about_experts
    if config is None or said:
        raise ConfigError(
            f"mix needs a run configuration, or {argument('base')}, {argument('experts')} and a task"
            + (f"; {argument(said[0])} goes with the latter" if said else "")
        )
    wanted = loaded(config)
    check_outputs(asked.written, inputs=[wanted.path, *filter(wanted.reads, asked.files.values())])
    claiming.check(asked.out, wanted)
    look_at(wanted, RunFolder(asked.out))
    return mergemix(
        wanted, asked.out, train=asked.train, workers=asked.workers, executor=asked.executor,
        means=asked.means, progress=asked.progress,
    )  # fmt: skip


def _of_experts(config: RunConfig | str | Path | None, asked: _Asked) -> MixResult:
    from m2m.mixing import mix_experts

    base, experts = asked.base, asked.experts
    if base is None or experts is None or asked.train:
        raise ConfigError(
            f"{argument('base')} goes with {argument('experts')}, and without {argument('train')}: "
            "nothing is trained"
        )
    bench = bench_of(
        base, asked.tasks, asked.setup, asked.targets, asked.split, asked.model, asked.context,
        asked.options, asked.progress,
    )  # fmt: skip
    how = config.mix if isinstance(config, RunConfig) else MixOptions()
    where = [] if config is None or isinstance(config, RunConfig) else [config]
    if where:
        how = configuration.load_mix(where[0])
    _check_own(asked.out)
    of_tasks = files_of_tasks(asked.tasks, asked.model, asked.options)
    read = [base, *paths_of(experts), *of_tasks, *files_of_setup(asked.setup), *where]
    check_outputs([*_own_outputs(asked.out), *asked.written], inputs=read)
    return mix_experts(
        base, experts, bench, asked.out, how, where=f"{where[0]} [mix]" if where else "",
        seed=asked.seed or 0, means=asked.means, strict=asked.strict,
        executor=asked.executor, workers=asked.workers, progress=asked.progress,
    )  # fmt: skip


def _own_outputs(out: Path) -> list[Output]:
    said, table = argument("out", out), out / "scores.sqlite"
    own = [*results_in(said, out, "mix"), *results_in(said, out, "candidates")[1:]]
    return own + ([Output(said, table, "table", own=True)] if table.exists() else [])


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
