"""`m2m score`: candidates of given experts, scored on tasks or on a set-up's targets, or in a race."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from m2m.candidates import read_candidates
from m2m.errors import ConfigError, MixtureError
from m2m.executors.choice import check_executor
from m2m.mixture import MergingWeights, all_subsets, sum_to_divide_by
from m2m.pipeline import config as configuration
from m2m.pipeline.steps import load_setup
from m2m.scoring import RaceReport, ScoreReport, files_of_tasks, race_candidates, score_mixtures
from m2m.scoring.bench import Bench, setup_bench, task_bench
from m2m.scoring.means import Mode
from m2m.scoring.models import Experts, names_of
from m2m.scoring.racing.race_experts import BUDGET
from m2m.scoring.tasks import TaskOptions
from m2m.setups.protocol import Split
from m2m.support.arguments import argument
from m2m.support.checked import Natural, Positive, checked
from m2m.support.progress import Progress

_log = logging.getLogger(__name__)

#: Candidates as they may be given; None and `all` stand for every subset.
Candidates = Sequence[MergingWeights] | str | Path | None


@checked()
def score(
    base: str | Path,
    experts: Experts,
    candidates: Candidates = None,
    *,
    out: str | Path,
    normalize: bool = False,
    scale: float = 1.0,
    tasks: Sequence[str] = (),
    setup: str | Path | None = None,
    targets: Sequence[str] = (),
    split: Split = "validation",
    examples: str | Path | None = None,
    bench: Bench | Callable[[], Bench] | None = None,
    model: str | None = None,
    context: Positive | None = None,
    options: TaskOptions | None = None,
    mode: Mode = "auto",
    passes: Positive = 1,
    memory: int | str | None = None,
    threads: Positive | None = None,
    device: str = "cpu",
    inputs: Iterable[str | Path] = (),
    strict: bool = False,
    executor: str = "local",
    workers: Positive | None = None,
    progress: Progress | None = None,
) -> ScoreReport:
    """Score the merged model of every candidate, without writing one, and keep each score as it comes.

    Scores lie in a SQLite table beside `out`, by content: the hashes of base, experts and module, the
    weights, the rule and the dtype; and the task's name, version and split. So a call after an interruption
    goes on where it stopped, and nothing that changed is taken for what it was.

    Args:
        base: Checkpoint of the base model θ₀.
        experts: The experts' checkpoints, or folders of adapters of the base model, by name; or only paths,
            which are then named by their last parts, or by the folders that tell those apart. [N]
        candidates: Mixtures or merging weights over the experts' names, or a CSV file of them
            (`m2m.candidates`); None or `all` for all 2^N − 1 subsets. Weights need not sum to one: the merged
            model is θ₀ + Σ w_n (θ_n − θ₀), in which the base model has weight 1 − Σw. [M]
        out: CSV file of the scores, `NAME.csv`; the table is its neighbour `NAME.sqlite`.
        normalize: Whether each candidate's weights are divided by their sum first, as in a merge.
        scale: What they are multiplied with then, as by `lambda` of a merge of task vectors.
        tasks: Tasks as the command line spells them: `lm:FILE`, `choice:FILE.jsonl`,
            `exact_match:FILE.jsonl`, `generate:FILE.jsonl`, `classify:FILE`, `lm_eval:NAME`,
            `FILE.py:FUNCTION`.
        setup: A run configuration whose `[setup]` has the model and the targets, instead of `tasks`.
        targets: Targets of `setup`.
        split: Split of the targets, `validation` or `test`.
        examples: File for every example's score, `.csv` or `.parquet`; None for none.
        bench: Module and tasks, or what makes them, instead of `tasks` and `setup`.
        model: Factory of the module, `FILE.py:FUNCTION`; None if `base` is a Hugging Face folder.
        context: Longest input of a task's texts, in tokens.
        options: What else is said about the tasks.
        mode: `auto`, `resident`, `streamed` or `stacked`.
        passes: Least passes over the experts when streamed, each with a part of the candidates: an
            interruption loses at most the pass that it hits.
        memory: Budget, in bytes or as in `2GiB`; None: half of what the device has free.
        threads: CPU threads of the merge; None for the kernel's own choice.
        device: Where candidates are merged and scored: `cpu`, `cuda`, or `cuda:1` and so on.
        inputs: Other files that are read, which are not written over either.
        strict: Whether what makes an average of the models doubtful (`m2m.merging.doubts`) is an error; a
            warning where not.
        executor: Where candidates are scored: `local`; `ray` for the cluster of `RAY_ADDRESS` or this
            machine; or `ray://HOST:PORT`. Its machines must see all files under the same paths.
        workers: Worker processes, one thread each, which keep the experts open; None: this process with all
            its cores, or all that the cluster has.
        progress: Called with (done, total, what).

    Returns:
        What was done.

    Raises:
        ConfigError: If there is no task, no such device, or a file cannot be written where it is asked for.
        MixtureError: If a candidate is over other names than the experts'.
        InputError: If a task gives no proper scores; those of earlier candidates are kept.
    """  # noqa: DOC502 - partly raised by what is called
    check_executor(executor)
    if bench is None:
        bench = bench_of(base, tasks, setup, targets, split, model, context, options, progress)
    of_tasks, of_setup = files_of_tasks(tasks, model, options), files_of_setup(setup, out, examples)
    read = [*of_tasks, *inputs, *_files(candidates), *of_setup]
    return score_mixtures(
        base, experts, _merges(candidates, experts, normalize, scale), bench, out=out, examples=examples,
        mode=mode, passes=passes, memory=memory, threads=threads, device=device, progress=progress,
        inputs=read, strict=strict, executor=executor, workers=workers,
    )  # fmt: skip


@checked()
def race(
    base: str | Path,
    experts: Experts,
    candidates: Candidates = None,
    *,
    out: str | Path,
    normalize: bool = False,
    scale: float = 1.0,
    tasks: Sequence[str] = (),
    setup: str | Path | None = None,
    targets: Sequence[str] = (),
    split: Split = "validation",
    budget: float = BUDGET,
    metric: str | None = None,
    confidence: float = 0.95,
    seed: Natural = 0,
    examples: str | Path | None = None,
    bench: Bench | Callable[[], Bench] | None = None,
    model: str | None = None,
    context: Positive | None = None,
    options: TaskOptions | None = None,
    memory: int | str | None = None,
    threads: Positive | None = None,
    device: str = "cpu",
    inputs: Iterable[str | Path] = (),
    strict: bool = False,
    progress: Progress | None = None,
) -> RaceReport:
    """Find the best candidate for a share of the example evaluations, and say how sure that is.

    Candidates that reach the last example are kept in the score table beside `out`, like those of
    `m2m.score`, and what is there already costs nothing; the rest of an interrupted race is run again.
    Writes the report as `OUT.race.json` and a row a candidate as `OUT.race.csv`. A race of other things
    than experts on disk is `m2m.scoring.race`.

    Args:
        base: Checkpoint of the base model θ₀.
        experts: The experts' checkpoints, or folders of adapters of the base model, by name; or only paths,
            which are then named by their last parts, or by the folders that tell those apart. [N]
        candidates: Mixtures or merging weights over the experts' names, or a CSV file of them
            (`m2m.candidates`); None or `all` for all 2^N − 1 subsets. Weights need not sum to one: the merged
            model is θ₀ + Σ w_n (θ_n − θ₀), in which the base model has weight 1 − Σw. [M]
        out: CSV file of the scores of candidates that reached the last example, `NAME.csv`.
        normalize: Whether each candidate's weights are divided by their sum first, as in a merge.
        scale: What they are multiplied with then, as by `lambda` of a merge of task vectors.
        tasks: The one task, as the command line spells it.
        setup: A run configuration whose `[setup]` has the model and the target, instead of `tasks`.
        targets: The one target of `setup`.
        split: Split of the target, `validation` or `test`.
        budget: Most example evaluations: an int is their number, a float in (0, 1] the share of all M·E.
        metric: The metric that decides; None for the task's headline metric.
        confidence: In (0, 1); decides who is hopeless and how many contenders there are.
        seed: Decides the order of the examples.
        examples: File for every example's score of these candidates, `.csv` or `.parquet`; None for none.
        bench: Module and task, or what makes them, instead of `tasks` and `setup`.
        model: Factory of the module, `FILE.py:FUNCTION`; None if `base` is a Hugging Face folder.
        context: Longest input of a task's texts, in tokens.
        options: What else is said about the task.
        memory: Budget, in bytes or as in `2GiB`; None: half of what the device has free.
        threads: CPU threads of the merge; None for the kernel's own choice.
        device: Where candidates are merged and scored: `cpu`, `cuda`, or `cuda:1` and so on.
        inputs: Other files that are read, which are not written over either.
        strict: Whether what makes an average of the models doubtful (`m2m.merging.doubts`) is an error; a
            warning where not.
        progress: Called with (done, total, what); what is counted are example evaluations of the budget.

    Returns:
        The winner, how sure that is, and what it cost.

    Raises:
        ConfigError: If there is no task, no such device, or a file cannot be written where it is asked for.
        InputError: If the budget does not pay for two examples a candidate, or the task has no examples.
    """  # noqa: DOC502 - raised by what is called
    if bench is None:
        bench = bench_of(base, tasks, setup, targets, split, model, context, options, progress)
    of_tasks, of_setup = files_of_tasks(tasks, model, options), files_of_setup(setup, out, examples)
    read = [*of_tasks, *inputs, *_files(candidates), *of_setup]
    return race_candidates(
        base, experts, _merges(candidates, experts, normalize, scale), bench, out=out, budget=budget,
        metric=metric, confidence=confidence, seed=seed, examples=examples, memory=memory, threads=threads,
        device=device, progress=progress, inputs=read, strict=strict,
    )  # fmt: skip


def bench_of(
    base: str | Path,
    tasks: Sequence[str],
    setup: str | Path | None,
    targets: Sequence[str],
    split: Split,
    model: str | None,
    context: Positive | None,
    options: TaskOptions | None,
    progress: Progress | None,
) -> Callable[[], Bench]:
    """Return what makes the bench of a run configuration's targets, or of tasks in words."""
    one = f"{argument('setup', 'CONFIG.toml')} {argument('targets', 'NAME')}"
    other = argument("tasks", "TASK")
    if setup is not None and tasks:
        raise ConfigError(f"{one} and {other} were both given: scores are of one or the other")
    if setup is None and not tasks:
        raise ConfigError(f"there is nothing to score on: give {one}, or {other}")
    if setup is None:
        if targets:
            raise ConfigError(
                f"{argument('targets')} goes with {argument('setup', 'CONFIG.toml')}; "
                f"{argument('tasks')} goes without {argument('targets')}"
            )
        return partial(task_bench, Path(base), tasks, model=model, context=context, options=options)
    if options is not None and options.trust_remote_code:
        raise ConfigError(
            f"{argument('trust_remote_code')} goes with {argument('tasks')}; for "
            f"{argument('setup')} write it "
            "into its [setup] table"
        )
    if not targets or model is not None:
        raise ConfigError(
            f"{argument('setup')} goes with {argument('targets', 'NAME')} and without {argument('model')}"
        )
    return _OfSetup(setup, tuple(targets), split, progress)


@dataclass(frozen=True)
class _OfSetup:
    """Makes the bench of a run configuration's targets, in workers too."""

    setup: str | Path
    targets: tuple[str, ...]
    split: Split
    progress: Progress | None

    def __call__(self) -> Bench:
        return setup_bench(
            load_setup(configuration.load(self.setup), self.progress), self.targets, self.split
        )

    def __reduce__(self) -> tuple[type[_OfSetup], tuple[object, ...]]:
        return _OfSetup, (self.setup, self.targets, self.split, None)  # who is told stays here


def files_of_setup(setup: str | Path | None, *outputs: str | Path | None) -> list[Path]:
    """Return what must not be written over as a run configuration is read: it, and outputs that it names."""
    if setup is None:
        return []
    written = [Path(path) for path in outputs if path is not None]
    return [Path(setup), *filter(configuration.load(setup).reads, written)]


def _merges(
    candidates: Candidates, experts: Experts, normalize: bool, scale: float
) -> Sequence[MergingWeights] | None:
    """Return the candidates as they are merged, each once; None for all subsets as they are."""
    if not math.isfinite(scale) or not scale:
        raise ConfigError(
            f"{argument('scale')} must be a finite number, and not 0, which is the base model; got {scale}"
        )
    given = _given(candidates, experts)
    if given is None and scale == 1:  # normalising changes no subset
        return None
    if given is None:
        given = all_subsets(names_of(experts))
    merges = {merge.key: merge for merge in (_changed(each, normalize, scale) for each in given)}
    off = sum(merge.scale != 1 for merge in merges.values())
    if off and scale == 1 and _files(candidates):
        _log.warning(
            "%s: the weights of %d of %d candidates do not sum to one: the base model has the rest, 1 − Σw",
            candidates, off, len(merges),
        )  # fmt: skip
    return list(merges.values())


def _given(candidates: Candidates, experts: Experts) -> Sequence[MergingWeights] | None:
    if candidates is None or candidates == "all":
        return None
    if isinstance(candidates, str | Path):
        names = names_of(experts)
        return [MergingWeights.of(names, row.weights) for row in read_candidates(candidates, names)]
    given = list(candidates)
    if not given or not all(isinstance(weights, MergingWeights) for weights in given):
        raise ConfigError(
            f"{argument('candidates')} must be mixtures (m2m.Mixture) or merging weights "
            f"(m2m.MergingWeights), at least one, got {given!r:.60}"
        )
    return given


def _changed(merge: MergingWeights, normalize: bool, scale: float) -> MergingWeights:
    # As a merge of task vectors has it: λ·w, or λ·(w / Σw).
    weights = merge.weights
    try:
        if normalize:
            total = sum_to_divide_by(weights)
            weights = tuple(weight / total for weight in weights)
        return MergingWeights.of(merge.datasets, [scale * weight for weight in weights])
    except MixtureError as error:
        raise MixtureError(f"candidate {merge.shown}: {error}") from None


def _files(candidates: Candidates) -> list[str | Path]:
    return [candidates] if isinstance(candidates, str | Path) and candidates != "all" else []
