"""Race candidates of experts on disk: find the best without scoring every candidate on every example."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from m2m.mixture import MergingWeights
from m2m.scoring.bench import Bench
from m2m.scoring.example_scores import export_examples
from m2m.scoring.live.device import open_device
from m2m.scoring.means import Means
from m2m.scoring.models import Experts
from m2m.scoring.prepare import prepared, score_outputs
from m2m.scoring.racing import RaceResult, race
from m2m.scoring.racing.candidates import Runners, raced_task
from m2m.scoring.racing.rules import allowed_evaluations
from m2m.scoring.source import ScoreSource
from m2m.scoring.table import ScoreTable
from m2m.support.csv_tables import write_frame
from m2m.support.files import write_atomically
from m2m.support.process_memory import peak_resident_bytes
from m2m.support.progress import Progress, nobody
from m2m.support.units import parse_bytes

if TYPE_CHECKING:
    import pandas as pd

#: Share of all example evaluations that a race may cost unless the user says so.
BUDGET = 0.2


@dataclass(frozen=True)
class RaceReport:
    """What a race found, and what it cost.

    Attributes:
        winner: Name of the best candidate.
        weights: Its merging weights by expert.
        probability: Probability that none is better over all examples.
        contenders: The candidates, winner first, that are not told apart from it by the confidence asked for.
        task: What the candidates raced on.
        metric: The metric that decided.
        higher_is_better: Its direction.
        candidates: Number of candidates M.
        examples: Number of examples E.
        evaluations: Example evaluations that the race is worth: one is one candidate on one example.
        saved: How many more scoring everything takes.
        evaluated_now: How many were made now; the table had the others.
        merges: Merged models made.
        finished: Candidates scored on all examples; these are in the score table.
        budget: Most example evaluations.
        confidence: What was asked for.
        seed: What the order of the examples was drawn from.
        runners: CSV file with a row a candidate.
        wall_s: Seconds that it took.
        peak_rss_bytes: Largest resident set of the process so far, mapped files included.
    """

    winner: str
    weights: Mapping[str, float]
    probability: float
    contenders: Sequence[str]
    task: str
    metric: str
    higher_is_better: bool
    candidates: int
    examples: int
    evaluations: int
    saved: int
    evaluated_now: int
    merges: int
    finished: int
    budget: int
    confidence: float
    seed: int
    runners: Path
    wall_s: float
    peak_rss_bytes: int


def race_candidates(
    base: str | Path,
    experts: Experts,
    candidates: Sequence[MergingWeights] | None,
    bench: Bench | Callable[[], Bench],
    *,
    out: str | Path,
    budget: float = BUDGET,
    metric: str | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    examples: str | Path | None = None,
    memory: int | str | None = None,
    threads: int | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    inputs: Iterable[str | Path] = (),
    strict: bool = False,
) -> RaceReport:
    """What `m2m.race` does once candidates and set-up are read; None stands for all subsets."""
    start = time.perf_counter()
    place, out, examples = open_device(device), Path(out), None if examples is None else Path(examples)
    with prepared(
        base, experts, candidates, bench=bench, inputs=inputs, strict=strict,
        outputs=score_outputs(out, examples=examples, race=True),
    ) as what:  # fmt: skip
        scorer, decisive = raced_task(what.bench.scorers, metric)
        limit = allowed_evaluations(budget, len(what.mixtures), scorer.count)
        room = None if memory is None else parse_bytes(memory)
        means = Means("resident", room, place, threads)
        with ScoreSource(what.models, what.bench, means) as source:
            runners = Runners(
                what.keys(place.type), scorer, decisive, out.with_suffix(".sqlite"), source,
                _told(limit, progress or nobody),
            )  # fmt: skip
            result = race(runners, budget, confidence=confidence, seed=seed)
    names = [mixture.label for mixture in runners.mixtures]
    winner = runners.mixtures[result.winner]
    report = RaceReport(
        winner=winner.label,
        weights=winner.by_name,
        probability=result.probability,
        contenders=[names[m] for m in result.contenders],
        task=scorer.task,
        metric=decisive,
        higher_is_better=runners.higher_is_better,
        candidates=runners.count,
        examples=runners.examples,
        evaluations=result.evaluations,
        saved=result.saved,
        evaluated_now=runners.evaluated,
        merges=runners.merges,
        finished=int((runners.seen == runners.examples).sum()),
        budget=limit,
        confidence=confidence,
        seed=seed,
        runners=out.with_suffix(".race.csv"),
        wall_s=time.perf_counter() - start,
        peak_rss_bytes=peak_resident_bytes(),
    )
    _write(report, runner_table(runners, result), out, examples)
    return report


def runner_table(runners: Runners, result: RaceResult) -> pd.DataFrame:
    """Tabulate how each candidate did.

    Args:
        runners: The candidates.
        result: The race's outcome.

    Returns:
        A row a candidate: `candidate`; `weights`, JSON by expert; `seen`, examples that it raced on; `value`,
        mean of the metric over all that it was scored on; `behind` and `behind_error`, how far behind the
        winner it is expected to be over all examples; `probability` that none is better; `contender`; `left`,
        `hopeless` or `budget` if it left early.
    """
    import pandas as pd

    left = {m: "hopeless" for turn in result.rounds for m in turn.hopeless}
    left |= {m: "budget" for turn in result.rounds for m in turn.displaced}
    mixtures, everyone = runners.mixtures, range(runners.count)
    weights = [mixture.by_name for mixture in mixtures]
    return pd.DataFrame(
        {
            "candidate": [mixture.label for mixture in mixtures],
            "weights": [json.dumps(each) for each in weights],
            "seen": result.seen,
            "value": [runners.mean(m) for m in everyone],
            "behind": result.behind,
            "behind_error": result.behind_error,
            "probability": result.probabilities,
            "contender": [m in result.contenders for m in everyone],
            "left": [left.get(m, "") for m in everyone],
        }
    )


def _told(limit: int, progress: Progress) -> Callable[[int], None]:
    # Counts example evaluations.
    done = 0

    def count(evaluations: int) -> None:
        nonlocal done
        done += evaluations
        progress(done, limit, "example evaluations")

    return count


def _write(report: RaceReport, table: pd.DataFrame, out: Path, examples: Path | None) -> None:
    with ScoreTable(out.with_suffix(".sqlite")) as finished:
        finished.export_csv(out)
        if examples is not None:
            export_examples(finished, examples)
    write_frame(report.runners, table)
    text = json.dumps(asdict(report), default=str, ensure_ascii=False, indent=2, allow_nan=False)
    write_atomically(out.with_suffix(".race.json"), text + "\n")
