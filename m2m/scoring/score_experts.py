"""Score candidates of experts on disk, into a table that keeps every score as soon as it is known."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from m2m.errors import InputError
from m2m.mixture import Mixture
from m2m.scoring.bench import Bench
from m2m.scoring.choice import Means
from m2m.scoring.example_scores import export_examples
from m2m.scoring.live.device import open_device
from m2m.scoring.models import Experts
from m2m.scoring.prepare import is_scored, keep, prepared, score_outputs
from m2m.scoring.source import ScoreSource
from m2m.scoring.table import ScoreTable
from m2m.scoring.tasks import TaskOptions
from m2m.scoring.tasks.scorer import Scorer
from m2m.support.process_memory import peak_resident_bytes
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
        table = out.with_suffix(".sqlite")  # of a file that can be written: `.` has no suffix
        budget = None if memory is None else parse_bytes(memory)
        means = Means(mode, budget, place, threads, passes, out.parent)
        with ScoreSource(what.models, what.bench, means, progress or nobody) as source:
            scored = _score(source, what.keys(place.type), table)
    with ScoreTable(table) as finished:
        finished.export_csv(out)
        if examples is not None:
            export_examples(finished, examples)
    wall, counts = time.perf_counter() - start, source.counts
    return ScoreReport(
        out, source.choice.mode, source.choice.why, len(what.mixtures), len(scored), sum(scored), wall,
        peak_resident_bytes(), **({} if counts is None else asdict(counts)),
    )  # fmt: skip


def _score(source: ScoreSource, mixtures: Mapping[str, Mixture], path: Path) -> list[int]:
    # Score what the table does not have, and return how many examples of each candidate; what cannot be
    # scored is refused before there is a table.
    keys, scored = {mixture.key: key for key, mixture in mixtures.items()}, []
    for missing, wanted in _missing(source.bench.scorers, list(mixtures), path).items():
        scorers = [source.bench.scorers[at] for at in missing]
        walk, done = source.scores([mixtures[key] for key in wanted], scorers), 0
        with ScoreTable(path) as table:
            try:
                for mixture, scores in walk:
                    keep(table, keys[mixture.key], mixture, scorers, scores)
                    scored.append(sum(found.count for found in scores))
                    done += 1
            except InputError as error:
                raise type(error)(f"{error} ({done} of {len(wanted)} candidates are kept)") from error
    return scored


def _missing(scorers: Sequence[Scorer], keys: Sequence[str], path: Path) -> dict[tuple[int, ...], list[str]]:
    # Candidates by the tasks that they miss: nearly always all miss the same.
    groups = defaultdict[tuple[int, ...], list[str]](list)
    if not path.exists():
        return {tuple(range(len(scorers))): [*keys]}
    with ScoreTable(path) as table:
        for key in keys:
            missing = tuple(at for at, task in enumerate(scorers) if not is_scored(table, key, task))
            if missing:
                groups[missing].append(key)
    return groups
