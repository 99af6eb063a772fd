"""`m2m search`: the best mixture from few evaluations, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from m2m.errors import ConfigError
from m2m.executors.choice import check_executor
from m2m.mixture import MergingWeights, Mixture
from m2m.scoring import files_of_tasks, score_outputs
from m2m.scoring.means import Mode
from m2m.scoring.models import Experts, paths_of
from m2m.scoring.tasks import TaskOptions
from m2m.searching import (
    DEFAULT,
    Belief,
    Evaluation,
    Limit,
    ModelBased,
    Objective,
    OptunaStudy,
    QuadraticPrior,
    ScaledSimplex,
    SearchResult,
    Simplex,
    Space,
    Strategy,
    Subsets,
    TrustRegion,
    assess,
    strategy_named,
)
from m2m.searching.scaled_simplex import SCALES
from m2m.setups.protocol import Split
from m2m.support.arguments import argument
from m2m.support.checked import Natural, Positive, checked
from m2m.support.csv_tables import write_rows
from m2m.support.outputs import Output, check_outputs
from m2m.support.progress import Progress
from m2m.verbs.score import files_of_setup
from m2m.verbs.search.live import live_source
from m2m.verbs.search.objective import open_race, read_prior, utility_of
from m2m.verbs.search.recorded import open_recorded
from m2m.verbs.search.source import Asked, Source

#: Fewest evaluations from which a belief is worth having.
ENOUGH = 8
#: Names of the spaces without an end.
SIMPLEX, SCALED = "simplex", "shares+scale"


@dataclass(frozen=True)
class SearchReport:
    """What a search found.

    Attributes:
        picked: The best evaluation within the limits.
        result: Everything that was tried.
        belief: How sure it is, and what to try next; None after fewer than `ENOUGH` evaluations.
        scores: The pick's score by task; empty for an objective of one's own.
        front: The mixtures tried that no other beats on every task, with their scores by task.
        raced: Example evaluations that were made, and that scoring in full would take; None without a race.
    """

    picked: Evaluation
    result: SearchResult
    belief: Belief | None
    scores: Mapping[str, float]
    front: Sequence[tuple[MergingWeights, Mapping[str, float]]]
    raced: tuple[int, int] | None

    @property
    def best(self) -> MergingWeights:
        """The merging weights picked: a `Mixture` where they are on the simplex."""
        return self.picked.mixture

    @property
    def mixture(self) -> Mixture:
        """The shares picked, which are trained on; a scale is the merge's alone."""
        return self.best.mixture


@checked()
def search(
    source: str | Path | Objective | None = None,
    space: str | Space = "subsets",
    strategy: str | Strategy = DEFAULT,
    budget: Positive | None = None,
    seed: Natural = 0,
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
    mode: Mode = "resident",
    memory: int | str | None = None,
    device: str = "cpu",
    threads: Positive | None = None,
    smallest: Positive = 1,
    largest: Positive | None = None,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    groups: Sequence[Sequence[str]] = (),
    caps: Mapping[str, float] | None = None,
    floors: Mapping[str, float] | None = None,
    scale_range: tuple[float, float] | None = None,
    metric: str | None = None,
    weigh: Mapping[str, float] | None = None,
    keep: Sequence[Limit] = (),
    race: bool = False,
    prior: str | Path | None = None,
    storage: str | Path | None = None,
    out: str | Path | None = None,
    strict: bool = False,
    executor: str = "local",
    workers: Positive | None = None,
    progress: Progress | None = None,
) -> SearchReport:
    """Search for the best mixture, and say how sure the search is.

    Scores come from a finished run, or from models that are merged and scored as they are asked for; these
    are kept in the SQLite file beside `out`, so a call after an interruption goes on where it stopped.

    Args:
        source: A finished run folder; an objective of your own, with a `Space` and none of the arguments
            about models and tasks; None: `base` and `experts` are scored.
        space: `subsets`; `simplex`; `shares+scale`, shares of the simplex times one scale of the merge, θ₀ +
            s Σ λ_n (θ_n − θ₀); or a `Space`.
        strategy: A strategy of `m2m.searching`, or its name.
        budget: Most evaluations; None: all there are.
        seed: Decides all random choices.
        base: Checkpoint of the base model θ₀.
        experts: The experts' checkpoints or adapters, by name; or only paths. [N]
        tasks: Tasks as the command line spells them.
        setup: A run configuration whose `[setup]` has the model and the targets, instead of `tasks`.
        targets: Targets of `setup`, or of the run.
        split: Split of the targets, `validation` or `test`.
        model: Factory of the module, `FILE.py:FUNCTION`; None if `base` is a Hugging Face folder.
        context: Longest input of a task's texts, in tokens.
        options: What else is said about the tasks.
        mode: `auto`, `resident`, `streamed` or `stacked`.
        memory: Budget, in bytes or as in `2GiB`; None: half of what the device has free.
        device: Where candidates are merged and scored: `cpu`, `cuda`, or `cuda:1` and so on.
        threads: CPU threads of the merge; None for the kernel's own choice.
        smallest: Fewest datasets of a subset.
        largest: Most datasets of a subset; None: all.
        include: Datasets in every subset.
        exclude: Datasets in none.
        groups: Datasets that go together.
        caps: Largest shares by dataset, on the simplex.
        floors: Least shares by dataset, on the simplex.
        scale_range: Least and largest scale of `shares+scale`; None: 0.5 and 2.
        metric: The metric; None: each task's headline metric.
        weigh: Weight by task, for tasks to trade against each other; needed if there are several.
        keep: Limits that must hold.
        race: Whether a mixture is scored only as far as it can still be the best.
        prior: `curvature.json` of `analysis.measure_curvature`, for the strategies `model` and `quadratic`.
        storage: SQLite file for Optuna's study, for its dashboard.
        out: CSV file for what was tried; needed for `base` and `experts`.
        strict: Whether what makes an average of the models doubtful (`m2m.merging.doubts`) is an error; a
            warning where not.
        executor: Where merged models are scored: `local`, `ray` or `ray://HOST:PORT`, as for `m2m.score`.
        workers: Worker processes; None: this process with all its cores, or all that the cluster has.
        progress: Called with (done, total, what) while a set-up is loaded.

    Returns:
        The pick, everything tried, and how sure it is.

    Raises:
        ConfigError: If arguments do not go together, or name what is not there.
        InputError: If the run has no scores, or a strategy cannot search the space.
    """  # noqa: DOC502 - partly raised by what is called
    place = None if out is None else Path(out)
    if storage is None and isinstance(strategy, OptunaStudy):
        storage = strategy.storage
    if isinstance(source, Objective):
        if isinstance(space, str):
            raise ConfigError(
                f"an objective of your own is searched over a Space, got {argument('space', space)}"
            )
        out_of_search = [] if place is None else [Output(argument("out", place), place)]
        check_outputs([*out_of_search, *_study_file(storage)])
        return _searched(source, space, _strategy(strategy, None, storage), budget, seed, place)
    asked = Asked(
        run=None if source is None else Path(source), base=None if base is None else Path(base),
        experts=experts, tasks=tasks, model=model, setup=setup, targets=targets, split=split,
        context=context, options=options, mode=mode, memory=memory, device=device, threads=threads,
        metric=metric, weigh=weigh or {}, keep=keep, out=place, strict=strict,
        executor=check_executor(executor), workers=workers, progress=progress,
    )  # fmt: skip
    if race and (executor != "local" or workers not in {None, 1}):
        raise ConfigError(f"{argument('race')} goes without {argument('executor')} and {argument('workers')}")
    check_outputs(_outputs(asked, storage), inputs=_inputs(asked, prior))
    with _opened(asked) as known:
        utility = utility_of(asked, known)
        belief_before = None if prior is None else read_prior(Path(prior), known, utility.tasks)
        limits = _Limits(
            smallest, largest, [*include], [*exclude], groups, caps or {}, floors or {}, scale_range
        )  # fmt: skip
        where = _space(asked, known, space, limits)
        racing = open_race(known, utility.tasks, seed) if race else None
        report = _searched(
            utility.objective if racing is None else racing.objective, where,
            _strategy(strategy, belief_before, storage), budget, seed, place, utility.feasible, belief_before,
        )  # fmt: skip
        return replace(
            report,
            scores=dict(utility.scores(report.best)),
            front=[(mixture, dict(scores)) for mixture, scores in utility.front()],
            raced=None if racing is None else (racing.raced.evaluations, racing.all_evaluations),
        )


@dataclass(frozen=True)
class _Limits:
    """Which subsets or shares may be tried."""

    smallest: int
    largest: int | None
    include: list[str]
    exclude: list[str]
    groups: Sequence[Sequence[str]]
    caps: Mapping[str, float]
    floors: Mapping[str, float]
    scale_range: tuple[float, float] | None


def _searched(
    objective: Objective,
    space: Space,
    strategy: Strategy,
    budget: int | None,
    seed: int,
    out: Path | None,
    feasible: Callable[[Sequence[Evaluation]], list[Evaluation]] = list,
    prior: QuadraticPrior | None = None,
) -> SearchReport:
    result = strategy.search(objective, space, budget, seed)
    best, upwards = max if objective.higher_is_better else min, objective.higher_is_better
    picked = best(feasible(result.trajectory), key=lambda step: step.value)
    belief = None
    if len(result.trajectory) >= ENOUGH:
        belief = assess(result.trajectory, space, higher_is_better=upwards, seed=seed, prior=prior)
    if out is not None:
        _write(out, result, picked)
    return SearchReport(picked, result, belief, {}, [], None)


def _write(path: Path, result: SearchResult, picked: Evaluation) -> None:
    rows = (
        [step.mixture.label, step.value, step.error, step.predicted, step is picked, *step.mixture.weights]
        for step in result.trajectory
    )
    write_rows(path, ["candidate", "value", "error", "predicted", "picked", *result.best.datasets], rows)


def _opened(asked: Asked) -> AbstractContextManager[Source]:
    live = asked.base is not None or asked.experts is not None
    base, experts = argument("base"), argument("experts")
    if live == (asked.run is not None):
        raise ConfigError(f"search needs a {argument('source')} folder, or {base} and {experts} with a task")
    if not live:
        return nullcontext(open_recorded(asked))
    if asked.base is None or asked.experts is None:
        raise ConfigError(f"{base} and {experts} go together")
    return live_source(asked)


def _outputs(asked: Asked, storage: str | Path | None) -> list[Output]:
    outputs = []
    if asked.run is None and asked.base is not None:
        if asked.out is None:
            raise ConfigError(f"live scores need {argument('out', 'NAME.csv')}: they are kept beside it")
        outputs = score_outputs(asked.out)
        _keep_scores(asked.out)
    elif asked.out is not None:
        outputs = [Output(argument("out", asked.out), asked.out)]
    return [*outputs, *_study_file(storage)]


def _study_file(storage: str | Path | None) -> list[Output]:
    return [] if storage is None else [Output(argument("storage", storage), Path(storage), "table")]


def _keep_scores(out: Path) -> None:
    # `m2m score` writes its table under such a name too; what it keeps in the SQLite file serves both.
    if out.is_file():
        with out.open("rb") as file:
            head = file.readline(4096).split(b",")
        if {b"candidate", b"members", b"task"} <= set(head):
            raise ConfigError(
                f"{argument('out', out)}: holds scores of `m2m score`, which what was tried would replace; "
                f"give another name (with a copy of {out.with_suffix('.sqlite').name} they cost nothing)"
            )


def _inputs(asked: Asked, prior: str | Path | None) -> list[str | Path]:
    # A run is none of them: what it keeps is never written over, and beside that a table may lie there.
    named: list[str | Path] = [path for path in (asked.base, prior) if path is not None]
    if asked.run is not None:
        return named
    experts = asked.experts or ()
    paths = paths_of(experts)
    of_tasks = files_of_tasks(asked.tasks, asked.model, asked.options)
    return [*named, *paths, *of_tasks, *files_of_setup(asked.setup, asked.out)]


def _space(asked: Asked, known: Source, space: str | Space, limits: _Limits) -> Space:
    if asked.run is not None and space in (SIMPLEX, SCALED):
        raise ConfigError(
            f"{asked.run} has the scores of certain mixtures only; leave out {argument('space', space)}"
        )
    if limits.scale_range is not None and space != SCALED:
        raise ConfigError(f"{argument('scale_range')} goes with {argument('space', SCALED)}")
    shares = limits.caps or limits.floors
    if known.pool is not None:
        if (
            limits.smallest > 1
            or shares
            or any((limits.largest, limits.include, limits.exclude, limits.groups))
        ):
            raise ConfigError(
                f"{asked.run} does not have every subset: search the ones it has, without limits"
            )
        return known.pool
    if not isinstance(space, str):
        return space
    if space in (SIMPLEX, SCALED):
        simplex = Simplex(known.datasets, limits.floors, limits.caps)
        return simplex if space == SIMPLEX else ScaledSimplex(simplex, *(limits.scale_range or SCALES))
    if space != "subsets":
        raise ConfigError(f"{argument('space')} must be subsets, {SIMPLEX} or {SCALED}, got {space!r}")
    if shares:
        raise ConfigError(
            f"{argument('caps')} and {argument('floors')} go with {argument('space', SIMPLEX)} or {SCALED}"
        )
    return Subsets(
        known.datasets, limits.smallest, limits.largest, limits.include, limits.exclude, limits.groups
    )


def _strategy(strategy: str | Strategy, prior: QuadraticPrior | None, storage: str | Path | None) -> Strategy:
    found, named = strategy_named(strategy) if isinstance(strategy, str) else strategy, argument("strategy")
    if prior is not None:
        if not isinstance(found, ModelBased | TrustRegion):
            raise ConfigError(f"{argument('prior')} goes with {named} model or quadratic")
        found = replace(found, prior=prior)
    if storage is None:
        return found
    if not isinstance(found, OptunaStudy):
        raise ConfigError(f"{argument('storage')} goes with {named} tpe, cmaes, gp or genetic")
    return replace(found, storage=Path(storage))
