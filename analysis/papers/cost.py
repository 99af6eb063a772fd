"""What each way to a mixture costs, counted in forward passes of one example and not in seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from analysis.papers.ratio_bench import RatioBench
from m2m.pipeline.config import RunConfig
from m2m.pipeline.run_folder import RunFolder
from m2m.scoring.table import ScoreTable

#: A training step of an example in forwards: there, and back to activations and to weights.
TRAINING = 3


def cost_of(folder: RunFolder, config: RunConfig) -> dict[str, Any]:
    """Count what choosing by merging, by training every mixture, and all datasets' training take.

    N experts of T steps of B examples, M candidates scored on E validation examples, one training on the
    pick: 3·T·B·(N + 1) + M·E forwards. The truth takes M·(3·T·B + E).

    Args:
        folder: The run's folder.
        config: Its configuration; mixtures train as long as experts.

    Returns:
        Numbers of trainings and scored candidates, and forwards, by way of choosing.
    """
    results = folder.read_results()
    count, candidates = len(results["datasets"]), results["candidates"]["scored"]
    training = TRAINING * config.train.steps * config.train.batch
    scoring = validation_examples(folder, config.run.weights)
    ways = {
        "merging": (count + 1, candidates),
        "truth": (candidates, candidates),
        "all": (1, 0),
    }
    return {"datasets": count, "mixtures": candidates, **_counted(training, scoring, ways)}


def cost_of_search(bench: RatioBench, ways: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """Count what ways to a ratio take until it is chosen.

    Args:
        bench: Where models are trained and scored.
        ways: Numbers of trainings, and of models scored on validation, by way.

    Returns:
        Forwards of one training and of scoring one model, and all numbers by way.
    """
    training = TRAINING * bench.recipe.steps * bench.recipe.batch
    return _counted(training, sum(bench.targets.count(name, "validation") for name in bench.names), ways)


def _counted(training: int, scoring: int, ways: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    return {
        "training": training,
        "examples": scoring,
        "by": {
            name: {"trainings": trained, "scored": scored, "forwards": trained * training + scored * scoring}
            for name, (trained, scored) in ways.items()
        },
    }


def validation_examples(folder: RunFolder, targets: Iterable[str]) -> int:
    """Count the examples on which a merged model is scored.

    Args:
        folder: The run's folder.
        targets: Targets that it is scored on.

    Returns:
        Their validation examples together.
    """
    with ScoreTable(folder.table, read_only=True) as table:
        rows = table.rows(origin="base", split="validation")
    counts = {row.task: row.count for row in rows}
    return sum(counts[target] for target in targets)
