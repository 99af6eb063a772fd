"""Score candidates of experts on disk, into a table that keeps every score as soon as it is known."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from m2m.errors import InputError
from m2m.merging.stream.memory import peak_resident_bytes
from m2m.mixture import Mixture
from m2m.scoring.engine import Choice, Job, choose, score_in_mode
from m2m.scoring.example_scores import export_examples
from m2m.scoring.live.device import free_bytes, open_device
from m2m.scoring.models import Experts
from m2m.scoring.prepare import Prepared, is_scored, prepared, score_outputs
from m2m.scoring.streamed import Counts, StreamedWalk
from m2m.scoring.table import ScoreTable
from m2m.scoring.tasks import TaskOptions
from m2m.scoring.tasks.bench import Bench
from m2m.scoring.tasks.scorer import Scorer, Scores
from m2m.support.progress import Progress, nobody
from m2m.support.units import parse_bytes


@dataclass(frozen=True)
class ScoreReport:
    """What scoring did.

    Attributes:
        scores: The CSV file.
        mode: `resident`, `streamed` or `stacked`; `none` where every score was there already.
        why: Why this mode.
        candidates: Number of candidates M.
        scored_now: How many of them were not scored yet.
        examples: Examples scored now, over all candidates and tasks.
        wall_s: Seconds that it took.
        peak_rss_bytes: Largest resident set of the process so far, mapped files included.
        bytes_read: Bytes read from the experts' shards; like what follows, None unless the mode is streamed.
        bytes_spilled: Bytes of activations and of weights used again that waited on disk.
        blocks: Blocks of the network that were read and merged.
        passes: Passes over the experts.
    """

    scores: Path
    mode: str
    why: str
    candidates: int
    scored_now: int
    examples: int
    wall_s: float
    peak_rss_bytes: int
    bytes_read: int | None = None
    bytes_spilled: int | None = None
    blocks: int | None = None
    passes: int | None = None


def score(
    base: str | Path,
    experts: Experts,
    candidates: Sequence[Mixture] | None = None,
    *,
    tasks: Sequence[str] = (),
    out: str | Path,
    examples: str | Path | None = None,
    bench: Bench | Callable[[], Bench] | None = None,
    model: str | None = None,
    context: int | None = None,
    options: TaskOptions | None = None,
    mode: str = "auto",
    memory: int | str | None = None,
    threads: int | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    passes: int = 1,
    inputs: Iterable[str | Path] = (),
) -> ScoreReport:
    """Score the merged model of every candidate, without writing one, and keep each score as it comes.

    Scores lie in a SQLite table beside `out`, by content: the hashes of base, experts and module, the
    weights, the rule and the dtype; and the task's name, version and split. So a call after an interruption
    goes on where it stopped, and nothing that changed is taken for what it was.

    Args:
        base: Checkpoint of the base model θ₀.
        experts: The experts' checkpoints, or folders of adapters of the base model, by name; or only paths,
            whose last parts are then the names. [N]
        candidates: Mixtures over the experts' names; None for all 2^N − 1 subsets. [M]
        tasks: Tasks as the command line spells them: `lm:FILE`, `choice:FILE.jsonl`, `classify:FILE`,
            `lm_eval:NAME`, `FILE.py:FUNCTION`.
        out: CSV file of the scores, `NAME.csv`; the table is its neighbour `NAME.sqlite`.
        examples: File for every example's score, `.csv` or `.parquet`; None for none.
        bench: Module and tasks, or what makes them, instead of `tasks` and what follows.
        model: Factory of the module, `FILE.py:FUNCTION`; None if `base` is a Hugging Face folder.
        context: Longest input of a task's texts, in tokens.
        options: What else is said about the tasks.
        mode: `auto`, `resident`, `streamed` or `stacked`.
        memory: Budget, in bytes or as in `2GiB`; None: half of what the device has free.
        threads: CPU threads of the merge; None for the kernel's own choice.
        device: Where candidates are merged and scored: `cpu`, `cuda`, or `cuda:1` and so on.
        progress: Told how far it is.
        passes: Least passes over the experts when streamed, each with a part of the candidates: an
            interruption loses at most the pass that it hits.
        inputs: Other files that are read, which are not written over either.

    Returns:
        What was done.

    Raises:
        ConfigError: If there is neither a task nor a bench, no such device, or a file cannot be
            written where it is asked for.
        MixtureError: If a candidate is over other names than the experts'.
        InputError: If a task gives no proper scores; those of earlier candidates are kept.
    """  # noqa: DOC502 - partly raised by what is called
    start = time.perf_counter()
    place, out, examples = open_device(device), Path(out), None if examples is None else Path(examples)
    with prepared(
        base, experts, candidates, tasks=tasks, outputs=score_outputs(out, examples=examples), inputs=inputs,
        bench=bench, model=model, context=context, options=options,
    ) as what:  # fmt: skip
        budget = free_bytes(place) // 2 if memory is None else parse_bytes(memory)
        run = _Run(what, budget, mode, threads, out.parent, progress, place, passes)
        run.score(out.with_suffix(".sqlite"))
    with ScoreTable(out.with_suffix(".sqlite")) as table:
        table.export_csv(out)
        if examples is not None:
            export_examples(table, examples)
    wall = time.perf_counter() - start
    return ScoreReport(
        out, run.choice.mode, run.choice.why, len(what.mixtures), run.scored, run.examples, wall,
        peak_resident_bytes(), **({} if run.counts is None else asdict(run.counts)),
    )  # fmt: skip


class _Run:
    """One call of `score`: what is scored, how, and how much of it was done.

    Attributes:
        choice: The mode.
        scored: Candidates scored so far.
        examples: Examples scored so far, over all candidates and tasks.
        counts: What streamed passes took; None in other modes.
    """

    def __init__(
        self,
        what: Prepared,
        memory: int,
        mode: str,
        threads: int | None,
        spill: Path,
        progress: Progress | None,
        device: torch.device,
        passes: int,
    ) -> None:
        self.choice = Choice("none", "every score was there already")
        self.scored = self.examples = 0
        self.counts: Counts | None = None
        self._what, self._bench = what, what.bench
        self._memory, self._mode, self._threads, self._spill = memory, mode, threads, spill
        self._device = device
        self._passes = passes
        self._progress: Progress = progress or nobody

    def score(self, path: Path) -> None:
        """Score what the table does not have; what cannot be scored is refused before there is a table."""
        keys = self._what.keys(self._device.type)
        for missing, wanted in self._missing(list(keys), path).items():
            scorers = [self._bench.scorers[at] for at in missing]
            candidates = [(key, keys[key]) for key in wanted]
            walk = self._walk([mixture for _, mixture in candidates], scorers)
            with ScoreTable(path) as table:
                self._keep_all(candidates, scorers, walk, table)

    def _missing(self, keys: Sequence[str], path: Path) -> dict[tuple[int, ...], list[str]]:
        # Candidates by the tasks that they miss: nearly always all miss the same.
        scorers, groups = self._bench.scorers, defaultdict[tuple[int, ...], list[str]](list)
        if not path.exists():
            return {tuple(range(len(scorers))): [*keys]}
        with ScoreTable(path) as table:
            for key in keys:
                missing = tuple(at for at, task in enumerate(scorers) if not is_scored(table, key, task))
                if missing:
                    groups[missing].append(key)
        return groups

    def _walk(
        self, mixtures: Sequence[Mixture], scorers: Sequence[Scorer]
    ) -> Iterator[tuple[int, list[Scores]]]:
        weights = [mixture.weights for mixture in mixtures]
        models = self._what.models
        job = Job(
            self._bench, models.base, models.experts, weights, scorers,
            self._memory, self._threads, self._spill, self._progress, self._device, self._passes,
            [mixture.label for mixture in mixtures], models.sums,
        )  # fmt: skip
        self.choice, walk = score_in_mode(choose(job, self._mode), job)
        return walk

    def _keep_all(
        self,
        candidates: Sequence[tuple[str, Mixture]],
        scorers: Sequence[Scorer],
        walk: Iterator[tuple[int, list[Scores]]],
        table: ScoreTable,
    ) -> None:
        done, total = 0, len(candidates)
        streamed = walk if isinstance(walk, StreamedWalk) else None  # it tells its progress and names itself
        tell = self._progress if streamed is None else nobody
        tell(done, total, "candidates")
        try:
            for m, scores in walk:
                self._keep(candidates[m], scorers, scores, table)
                done += 1
                tell(done, total, "candidates")
        except InputError as error:
            where = f"candidate {candidates[done][1].label}: " if streamed is None else ""
            raise type(error)(f"{where}{error} ({done} of {total} candidates are kept)") from error
        if streamed is not None:
            self.counts = streamed.counts + (self.counts or Counts())

    def _keep(
        self,
        candidate: tuple[str, Mixture],
        scorers: Sequence[Scorer],
        scores: Sequence[Scores],
        table: ScoreTable,
    ) -> None:
        key, mixture = candidate
        self._what.models.hashes.check_unchanged()  # else the key would be another model's
        for task, found in zip(scorers, scores, strict=True):
            table.add(key, mixture, "merged", None, task.task, task.split, task.version, found, task.metrics)
            self.examples += found.count
        self.scored += 1
