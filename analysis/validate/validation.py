"""Ask one or several runs about every claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from analysis.fidelity import of_run as fidelity_of_run
from analysis.validate.choices import of_choices_on, of_transfer
from analysis.validate.claims import CLAIMS
from analysis.validate.evidence import of_grid, of_study, of_test_scores
from analysis.validate.grid import Grid, comparable, read_grid
from analysis.validate.models import of_models
from analysis.validate.multiplicity import corrected
from analysis.validate.ratios import choose_ratios, of_choices, of_ratios, train_ratios
from analysis.validate.trainings import Trainings, of_trainings, train_more
from analysis.validate.verdict import Evidence, Verdict, judge
from analysis.validate.workshop import Workshop
from m2m import pipeline
from m2m.errors import InputError
from m2m.executors.local import Local
from m2m.executors.protocol import Executor
from m2m.pipeline import claiming, config
from m2m.pipeline.run_folder import RunFolder
from m2m.support.arguments import argument
from m2m.support.devices import one_thread
from m2m.support.progress import Progress, nobody

#: What claims are asked about a run's results.
_NEEDED = (
    "target", "metric", "higher_is_better", "datasets", "picked", "test", "seconds", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What one run had to say.

    Attributes:
        name: Name of the run's folder.
        identity: Hash of its configuration.
        kind: Kind of its set-up.
        evidence: Evidence by claim.
        trainings: The extra trainings; None if there were none.
        grid: Its scores; None if it did not train every mixture.
        size: Bytes of its base model.
    """

    name: str
    identity: str
    kind: str
    evidence: dict[str, Evidence]
    trainings: Trainings | None
    grid: Grid | None
    size: int


@dataclass(frozen=True)
class Validation:
    """Verdicts of several runs.

    Attributes:
        runs: What each run had to say.
        verdicts: A verdict a claim and run; a claim that no run is about has one without a run.
        seed: Seed of all resampling.
    """

    runs: tuple[Asked, ...]
    verdicts: tuple[Verdict, ...]
    seed: int


@dataclass(frozen=True)
class Options:
    """How runs are asked.

    Attributes:
        out: Folder for runs made from configurations, and for models that are trained besides.
        trainings: Whether to do the extra trainings.
        curvature: Whether to measure curvature.
        executor: Where models are trained and merged.
        seed: Seed of all resampling.
        progress: Called with (done, total, what is going on).
    """

    out: Path
    trainings: bool = True
    curvature: bool = True
    executor: Executor = field(default_factory=partial(Local, 1))
    seed: int = 0
    progress: Progress = nobody


def validate(sources: Sequence[str | Path], options: Options) -> Validation:
    """Run what has to be run, and give a verdict per claim.

    Args:
        sources: Configurations, which are run with `validate = true` into `out/runs`, and finished run
            folders, which are only read.
        options: How.

    Returns:
        The verdicts, in the order of the claims.

    Raises:
        InputError: If there is no source, two have the same name, one is neither a configuration nor a
            finished run, or trainings are wanted of one whose models the user's own trainer makes.
    """
    paths = [Path(source) for source in sources]
    names = [path.stem if path.is_file() else path.resolve().name for path in paths]
    if not paths or len(set(names)) != len(names):
        raise InputError(f"wanted runs or configurations of different names, got {names}")
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such configuration or run folder")
    if options.trainings:
        for path in paths:
            _check_trainer(path)
    roots = [_finished(path, options) for path in paths]
    asked = _with_transfers(
        [_ask(name, root, options) for name, root in zip(names, roots, strict=True)], options.seed
    )
    return Validation(asked, _verdicts(asked), options.seed)


def _check_trainer(path: Path) -> None:
    """Refuse a run whose models another trainer made, before hours are spent on it."""
    folder = RunFolder(path)
    if path.is_dir() and not (folder.config.exists() and folder.read_results().get("oracle")):
        return  # no mixture is compared with others that would be trained here
    loaded = config.load(folder.config if path.is_dir() else path)
    if loaded.trainer.command:
        raise InputError(
            f"{path} trains by a command of its own ([train] command), and the trainings that some claims "
            f"need would be m2m's, another recipe: leave these claims open, see {argument('trainings')}"
        )


def _finished(path: Path, options: Options) -> Path:
    if path.is_dir():
        if not RunFolder(path).read_results():
            raise InputError(f"{path} is not a finished run folder: it has no {RunFolder(path).results.name}")
        return path
    loaded = config.load(path)
    wanted = replace(loaded, run=replace(loaded.run, validate=True))
    out = options.out / "runs" / path.stem
    claiming.check(out, wanted)
    if RunFolder(out).read_results().get("oracle"):
        return out
    return pipeline.run(wanted, out, executor=options.executor, progress=options.progress).root


def _ask(name: str, root: Path, options: Options) -> Asked:
    folder = RunFolder(root)
    results, origin = folder.read_results(*_NEEDED), folder.read_identity()
    loaded = config.load(folder.config)
    options.progress(0, 1, f"{name}: models")
    evidence = of_test_scores(folder, results)
    evidence |= of_models(folder, options.seed, with_curvature=options.curvature)
    trainings, grid = None, None
    if results.get("oracle"):
        evidence |= of_study(fidelity_of_run(root, seed=options.seed))
        grid = read_grid(folder, results)
        evidence |= of_grid(grid, options.seed) | of_choices_on(grid, options.seed)
        if options.trainings:
            models = options.out / "models" / name / origin["identity"][:16]
            origins = (folder, loaded, Path(origin["root"]), grid, results)
            shop = Workshop(*origins, models, options.executor, options.progress)
            trainings, found = _train(shop, options.seed)
            evidence |= found
    kind = str(loaded.setup.get("kind", ""))
    return Asked(name, origin["identity"], kind, evidence, trainings, grid, _size(folder))


def _train(shop: Workshop, seed: int) -> tuple[Trainings, dict[str, Evidence]]:
    with one_thread():
        trainings, ratios = train_more(shop), train_ratios(shop)
        # Each choice is the best of one target; for several at once the claims about choices stay open.
        choices = choose_ratios(shop, ratios) if len(shop.config.run.weights) == 1 else {}
    evidence = of_trainings(shop.grid, trainings, seed) | of_ratios(ratios, seed) | of_choices(choices)
    return trainings, evidence


def _size(folder: RunFolder) -> int:
    return sum(path.stat().st_size for path in folder.base.glob("*.safetensors"))


def _with_transfers(runs: Sequence[Asked], seed: int) -> tuple[Asked, ...]:
    """Return the runs, asked about the choices of the smallest model on the same datasets and targets."""
    out = []
    for run in runs:
        alike = [
            other
            for other in runs
            if run.grid and other.grid and other.size < run.size and comparable(other.grid, run.grid)
        ]
        small = min(alike, key=lambda other: other.size, default=None)
        if small is not None and small.grid and run.grid:
            found = {"transfers": of_transfer(small.grid, run.grid, seed)}
            out.append(replace(run, evidence=run.evidence | found))
        else:
            out.append(run)
    return tuple(out)


def _verdicts(runs: Sequence[Asked]) -> tuple[Verdict, ...]:
    verdicts: list[Verdict] = []
    for claim in CLAIMS:
        about = [run for run in runs if claim.kind in ("", run.kind)]
        found = [
            judge(run.name, claim, run.evidence[claim.name]) for run in about if claim.name in run.evidence
        ]
        verdicts += found or [judge("", claim, None)]
    return corrected(verdicts)
