"""Score candidates of experts on disk, into a table that keeps every score as soon as it is known."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from m2m.errors import InputError
from m2m.mixture import MergingWeights
from m2m.scoring.bench import Bench
from m2m.scoring.example_scores import export_examples
from m2m.scoring.live.device import open_device
from m2m.scoring.means import Means
from m2m.scoring.models import Experts
from m2m.scoring.prepare import is_scored, keep, prepared, score_outputs
from m2m.scoring.source import ScoreSource
from m2m.scoring.spread import Crowd, SpreadSource
from m2m.scoring.table import ScoreTable
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


def score_mixtures(
    base: str | Path,
    experts: Experts,
    candidates: Sequence[MergingWeights] | None,
    bench: Bench | Callable[[], Bench],
    *,
    out: str | Path,
    examples: str | Path | None = None,
    mode: str = "auto",
    memory: int | str | None = None,
    threads: int | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    passes: int = 1,
    inputs: Iterable[str | Path] = (),
    strict: bool = False,
    executor: str = "local",
    workers: int | None = None,
) -> ScoreReport:
    """What `m2m.score` does once candidates and set-up are read; None stands for all subsets."""
    start = time.perf_counter()
    place, out, examples = open_device(device), Path(out), None if examples is None else Path(examples)
    with prepared(
        base, experts, candidates, bench=bench, outputs=score_outputs(out, examples=examples), inputs=inputs,
        strict=strict,
    ) as what:  # fmt: skip
        table = out.with_suffix(".sqlite")  # of a file that can be written: `.` has no suffix
        budget = None if memory is None else parse_bytes(memory)
        means = Means(mode, budget, place, threads, passes, out.parent)
        crowd = Crowd(executor, workers, base, experts, bench)
        with crowd.source(what.models, what.bench, means, progress or nobody) as source:
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


def _score(
    source: ScoreSource | SpreadSource, mixtures: Mapping[str, MergingWeights], path: Path
) -> list[int]:
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
