"""What a study leaves on disk: JSON for programs, CSV for spreadsheets, points for figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.fidelity.correlation import COEFFICIENTS, Correlations
from analysis.fidelity.measure import Fidelity, Pooled, Study
from analysis.fidelity.points import Points
from analysis.results import Reasons, versions, write_results

NAME = "fidelity"
_GIVEN = "the score that was given is no finite number"
#: Why a number may not be there.
REASONS: Reasons = {
    "merged": _GIVEN,
    "trained": _GIVEN,
    "trained_again": "the mixture was not trained with a second seed, or its score is no finite number",
    "p": "there is no permutation test: too many mixtures, or not every mixture on every target",
    "slope_sd": "slopes of one target do not vary",
    "off_line_sd": "without seeds that differ it is part of residual_sd",
    "residual_sd": "nothing was fitted",
    "mean_pearson": "a target has no correlation",
    "ndcg": "all trained scores are equal",
    "attainable": "the two training seeds do not agree, or there is only one",
    "f": "the line fits exactly",
    "unequal_slopes_p": "a target has too few mixtures, or too equal ones, for a slope of its own",
    "pairwise_accuracy": "its interval over mixtures stands beside its value",
}


def to_json(study: Study, source: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a study out as in `fidelity.json`.

    Args:
        study: The study.
        source: What it was made from: file names, columns, hashes.

    Returns:
        `pearson`, `spearman`, `kendall` and so on of all targets together at the top, each target in `by`.
    """
    return {
        **study.overall.to_json(),
        "mixed_effects": study.mixed.to_json(),
        "power": {name: plans.to_json() for name, plans in study.power.items()},
        "by": study.targets_json(),
        "source": dict(source),
        "seed": study.seed,
        "versions": versions(),
    }


def write(study: Study, folder: Path, source: Mapping[str, Any]) -> None:
    """Write `fidelity.json` and three CSV tables (summary, choices, points), each in one step.

    Args:
        study: The study.
        folder: Where to; made if need be.
        source: What it was made from: file names, columns, hashes.
    """
    tables = {"": summary_table(study), "choices": choices_table(study), "points": points_table(study)}
    write_results(folder, NAME, to_json(study, source), tables, REASONS)


def points_table(study: Study) -> pd.DataFrame:
    """Lay out what the figures draw.

    Args:
        study: The study.

    Returns:
        A row a target and mixture: `target, metric, higher_is_better, mixture, merged, trained,
        trained_again, singleton, pick, oracle`.
    """
    return pd.concat([_points(target.points) for target in study.by.values()], ignore_index=True)


def _points(points: Points) -> pd.DataFrame:
    rows = np.arange(points.n)
    finite = bool(np.all(np.isfinite([points.merged, points.trained]))) and points.n > 0
    return pd.DataFrame(
        {
            "target": points.target,
            "metric": points.metric,
            "higher_is_better": points.higher_is_better,
            "mixture": points.labels,
            "merged": points.merged,
            "trained": points.trained,
            "trained_again": points.again,
            "singleton": [len(names) == 1 for names in points.members or [()] * points.n],
            "pick": rows == points.pick if finite else False,
            "oracle": rows == points.oracle if finite else False,
        }
    )


def summary_table(study: Study) -> pd.DataFrame:
    """Lay out every correlation as a row.

    Args:
        study: The study.

    Returns:
        `target, mixtures (all, without singletons), coefficient, value, low, high, n, method, p, reason`.
    """
    return pd.DataFrame(list(_summary_rows(study)))


def choices_table(study: Study) -> pd.DataFrame:
    """Lay out how sure the numbers about each target's choice are.

    Args:
        study: The study.

    Returns:
        `target, source (mixtures, examples, seeds), quantity (regret_at, recall_at, within), at (k, or ε as a
        share of the range), value, low, high, reason (why there is no interval)`.
    """
    columns = ["target", "source", "quantity", "at", "value", "low", "high", "reason"]
    return pd.DataFrame(list(_choices_rows(study)), columns=columns)


def _choices_rows(study: Study) -> Iterator[tuple[Any, ...]]:
    for target, fidelity in study.by.items():
        chosen = fidelity.decision
        for source, found in chosen.uncertainty.items():
            for quantity in ("regret_at", "recall_at"):
                for k, interval in getattr(found, quantity).items():
                    value = getattr(chosen, quantity)[k]
                    ends = interval.low, interval.high, interval.reason
                    yield target, source, quantity, k, value, *ends
            for tolerance, share in found.within.items():
                yield target, source, "within", tolerance, share, None, None, "a chance has no interval"


def _summary_rows(study: Study) -> Iterator[dict[str, Any]]:
    results: dict[str, Fidelity | Pooled] = dict(study.by)
    if study.pooled is not None:
        results["(all targets)"] = study.pooled
    for target, result in results.items():
        parts = {"all": result.correlations, "without singletons": result.without_singletons}
        for mixtures, part in parts.items():
            for coefficient, row in _coefficients(part).items():
                yield {"target": target, "mixtures": mixtures, "coefficient": coefficient, **row}


def _coefficients(part: Correlations) -> dict[str, dict[str, Any]]:
    columns = ("value", "low", "high", "n", "method", "p", "reason")
    estimates = {name: getattr(part, name) for name in COEFFICIENTS}
    return {name: {column: getattr(e, column) for column in columns} for name, e in estimates.items()}
