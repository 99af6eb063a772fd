"""Verdicts as JSON, a table and a page."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

import pandas as pd

from analysis.results import Reasons
from analysis.validate.runs import Validation
from analysis.validate.verdict import RULE, Verdict

NAME = "verdicts"
#: Why a number may not be there.
REASONS: Reasons = {
    "value": "nothing was measured",
    "low": "there is no interval",
    "high": "there is no interval",
    "n": "nothing was measured",
    "evidence": "nothing was measured",
}
_COLUMNS = (
    "| run | claim | value [95 % interval] | threshold | n | verdict |\n| --- | --- | --- | --- | --- | --- |"
)


def to_json(validation: Validation) -> dict[str, Any]:
    """Lay verdicts out for a JSON file.

    Args:
        validation: The verdicts.

    Returns:
        The rule, the counts, the verdicts with their evidence, and the ablations.
    """
    return {
        "rule": RULE,
        "counts": counts(validation),
        "verdicts": [asdict(verdict) for verdict in validation.verdicts],
        "ablations": _ablations(validation),
    }


def counts(validation: Validation) -> dict[str, int]:
    """Count verdicts by outcome.

    Args:
        validation: The verdicts.

    Returns:
        How many hold, fail and are unresolved.
    """
    found = Counter(verdict.outcome for verdict in validation.verdicts)
    return {outcome: found[outcome] for outcome in ("holds", "fails", "unresolved")}


def to_tables(validation: Validation) -> dict[str, pd.DataFrame]:
    """Lay verdicts out as tables.

    Args:
        validation: The verdicts.

    Returns:
        A row a verdict and, where recipes were varied, a row an ablation.
    """
    tables = {"": pd.DataFrame([_row(verdict) for verdict in validation.verdicts])}
    ablations = _ablations(validation)
    if ablations:
        tables["ablations"] = pd.DataFrame(ablations)
    return tables


def to_page(validation: Validation) -> str:
    """Write verdicts for people.

    Args:
        validation: The verdicts.

    Returns:
        Markdown.
    """
    number = counts(validation)
    summary = ", ".join(f"{count} {outcome}" for outcome, count in number.items())
    parts = ["# Verdicts", f"{summary}. {RULE}"]
    for source in dict.fromkeys(verdict.claim.source for verdict in validation.verdicts):
        rows = [_line(verdict) for verdict in validation.verdicts if verdict.claim.source == source]
        parts += [f"## {source}", "\n".join([_COLUMNS, *rows])]
    return "\n\n".join(parts) + "\n"


def _line(verdict: Verdict) -> str:
    claim, evidence = verdict.claim, verdict.evidence
    sign = ">" if claim.side == "above" else "<"
    outcome = verdict.outcome + (f": {verdict.reason}" if verdict.reason else "")
    cells = [
        verdict.run or "–",
        f"{claim.text} *{claim.quantity}*",
        "–"
        if evidence is None or evidence.value is None
        else _in_words(evidence.value, evidence.low, evidence.high),
        f"{sign} {claim.threshold:.3g}",
        "–" if evidence is None else f"{evidence.n} {evidence.rows}",
        f"**{verdict.outcome}**" + outcome.removeprefix(verdict.outcome),
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _in_words(value: float, low: float | None, high: float | None) -> str:
    return f"{value:.3g}" if low is None or high is None else f"{value:.3g} [{low:.3g}, {high:.3g}]"


def _row(verdict: Verdict) -> dict[str, Any]:
    claim, evidence = asdict(verdict.claim), verdict.evidence
    measured = {
        key: None if evidence is None else getattr(evidence, key)
        for key in ("value", "low", "high", "n", "rows", "method")
    }
    return {"run": verdict.run, **claim, **measured, "outcome": verdict.outcome, "reason": verdict.reason}


def _ablations(validation: Validation) -> list[dict[str, Any]]:
    return [
        {
            "run": run.name,
            "ablation": ablation.name,
            "factors": " ".join(f"{factor:.3g}" for factor in ablation.factors),
            "value": ablation.correlation.value,
            "low": ablation.correlation.low,
            "high": ablation.correlation.high,
            "n": ablation.correlation.n,
        }
        for run in validation.runs
        if run.trainings is not None
        for ablation in run.trainings.ablations
    ]
