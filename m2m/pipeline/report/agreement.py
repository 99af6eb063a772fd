"""The report's section on fidelity: how well merged scores stand in for those of trained models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from m2m.pipeline.headlines import headline, in_words
from m2m.pipeline.report.caveats import QUESTIONS, interval_about
from m2m.pipeline.report.page import paragraph, table
from m2m.pipeline.report.test_scores import number
from m2m.support.arguments import argument

_Results = Mapping[str, Any]


def agreement(results: _Results) -> Iterator[str]:
    """Lay out the correlations by target, or say that they were not measured."""
    if not results["fidelity"]:
        yield paragraph(
            f"Not measured: this run trained only what it chose. With {argument('validate', True)} every "
            "mixture is really trained and compared with its merged model."
        )
        return
    yield paragraph(
        "Every mixture was also really trained. The correlation of merged and trained scores over "
        "mixtures of two or more datasets says how well merging stands in for training. Single datasets "
        "are left out: their merged model is the trained one, so that they agree whatever merging does. "
        "Of these mixtures: as if they were trained with other seeds and tested on other examples. Of new "
        "datasets: as if others had been there. Regret is the score lost by taking the pick and not the best "
        "mixture, single datasets among them.",
        "soft",
    )
    head = [
        "target",
        "n",
        "Pearson",
        "these mixtures [95 %]",
        "new datasets [95 %]",
        "Spearman",
        "with single datasets",
        "two seeds agree",
        "regret",
        "rank",
    ]
    first = sorted(results["fidelity"].items(), key=lambda item: item[0] != results["target"])
    rows = [_fidelity_row(_judged(name, results), found) for name, found in first]
    yield table(head, rows, picked=_judged(results["target"], results))


def _judged(target: str, results: _Results) -> str:
    """Name a target, and its metric where targets have different ones."""
    return f"{target}, {in_words(*headline(results, target))}" if "metrics" in results else target


def _fidelity_row(target: str, found: Mapping[str, Any]) -> list[str]:
    rank = found.get("rank")
    return [
        target,
        str(found["mixtures"]["pearson"]["n"]),
        _correlation(found["mixtures"]["pearson"]),
        *(_interval(interval_about(found["mixtures"]["pearson"], about)) for about in QUESTIONS),
        _correlation(found["mixtures"]["spearman"]),
        _correlation(found.get("with_singletons", {}).get("pearson")),
        _correlation(found.get("ceiling", {}).get("pearson")),
        number(found.get("regret"), found.get("reason")),
        number(None, found.get("reason")) if rank is None else f"{rank} of {found.get('candidates', '?')}",
    ]


def _correlation(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None or estimate["value"] is None:
        return "–" if estimate is None else f"– ({estimate.get('reason') or 'not defined'})"
    return f"{estimate['value']:.2f}"


def _interval(interval: Mapping[str, Any]) -> str:
    if interval.get("low") is None:
        return f"– ({interval['reason']})" if interval.get("reason") else "–"
    return f"{interval['low']:.2f} to {interval['high']:.2f}"
