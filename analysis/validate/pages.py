"""Verdicts as they are written: for programs, as tables, and as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from analysis.results import Reasons, versions
from analysis.validate.multiplicity import CORRECTION, expected_false
from analysis.validate.validation import Validation
from analysis.validate.verdict import RULE, Verdict

NAME = "verdicts"
_NOTHING, _NO_INTERVAL = "nothing was measured", "there is no interval"
#: Why a number may not be there.
REASONS: Reasons = {
    "value": _NOTHING,
    "low": _NO_INTERVAL,
    "high": _NO_INTERVAL,
    "n": _NOTHING,
    "evidence": _NOTHING,
    "p": _NO_INTERVAL,
    "p_holm": _NO_INTERVAL,
    "freedom": "the interval is not Student's",
}
_COLUMNS = (
    "| run | claim | value [95 % interval] | threshold | n | verdict | after Holm |\n"
    "| --- | --- | --- | --- | --- | --- | --- |"
)
#: Marks of what an interval takes as given.
_MARKS = "†‡§¶"


def provenance(validation: Validation) -> dict[str, Any]:
    """Return what verdicts were made from, and by what: configuration hash by run, seed, versions."""
    runs = {run.name: run.identity for run in validation.runs}
    return {"runs": runs, "seed": validation.seed, "versions": versions()}


def to_json(validation: Validation) -> dict[str, Any]:
    """Lay out rules, counts, the "holds" that chance would give, verdicts and ablations for JSON."""
    return {
        "rule": RULE,
        "correction": CORRECTION,
        "counts": counts(validation),
        "counts_holm": counts(validation, after_holm=True),
        "expected_false_holds": expected_false(validation.verdicts),
        "verdicts": [asdict(verdict) for verdict in validation.verdicts],
        "ablations": _ablations(validation),
    }


def counts(validation: Validation, *, after_holm: bool = False) -> dict[str, int]:
    """Count verdicts by outcome, as they are or after the correction for their number."""
    found = Counter(v.outcome_holm if after_holm else v.outcome for v in validation.verdicts)
    return {outcome: found[outcome] for outcome in ("holds", "fails", "unresolved")}


def to_tables(validation: Validation) -> dict[str, pd.DataFrame]:
    """Lay out a row a verdict and, where recipes were varied, a row an ablation."""
    tables = {"": pd.DataFrame([_row(verdict) for verdict in validation.verdicts])}
    ablations = _ablations(validation)
    if ablations:
        tables["ablations"] = pd.DataFrame(ablations)
    return tables


def to_page(validation: Validation) -> str:
    """Write verdicts for people, in Markdown."""
    marks = _marks(validation.verdicts)
    parts = ["# Verdicts", f"{_counted(validation)} {RULE}", said_of_many(validation.verdicts)]
    for source in dict.fromkeys(verdict.claim.source for verdict in validation.verdicts):
        rows = [_line(verdict, marks) for verdict in validation.verdicts if verdict.claim.source == source]
        parts += [f"## {source}", "\n".join([_COLUMNS, *rows])]
    parts += [f"{mark} {condition[0].upper()}{condition[1:]}." for condition, mark in marks.items()]
    return "\n\n".join(parts) + "\n"


def _counted(validation: Validation) -> str:
    raw, left = (counts(validation, after_holm=after) for after in (False, True))
    words = ", ".join(f"{count} {outcome}" for outcome, count in raw.items())
    return f"{words}; after Holm {left['holds']} holds, {left['fails']} fails."


def said_of_many(verdicts: Sequence[Verdict]) -> str:
    """Say what asking many claims at once does to their verdicts."""
    asked = sum(verdict.p is not None for verdict in verdicts)
    return (
        f"{asked} verdicts have an interval. If every quantity lay exactly at its threshold, "
        f"{expected_false(verdicts):.1f} of them would hold by chance, and as many fail. {CORRECTION}"
    )


def _marks(verdicts: Sequence[Verdict]) -> dict[str, str]:
    """Give each condition that an interval has a mark, in the order of appearance."""
    conditions = [v.evidence.condition for v in verdicts if v.evidence is not None and v.p is not None]
    return dict(zip(dict.fromkeys(filter(None, conditions)), _MARKS, strict=False))


def _line(verdict: Verdict, marks: dict[str, str]) -> str:
    claim, evidence = verdict.claim, verdict.evidence
    sign = ">" if claim.side == "above" else "<"
    mark = "" if evidence is None or verdict.p is None else marks.get(evidence.condition, "")
    reason = f": {verdict.reason}" if verdict.reason else ""
    cells = [
        verdict.run or "–",
        f"{claim.text} *{claim.quantity}*",
        "–"
        if evidence is None or evidence.value is None
        else _in_words(evidence.value, evidence.low, evidence.high),
        f"{sign} {claim.threshold:.3g}",
        "–" if evidence is None else f"{evidence.n} {evidence.rows}",
        f"**{verdict.outcome}**{mark}{reason}",
        "–" if verdict.p_holm is None else f"{verdict.outcome_holm}, p {_p(verdict.p_holm)}",
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.2g}"


def _in_words(value: float, low: float | None, high: float | None) -> str:
    return f"{value:.3g}" if low is None or high is None else f"{value:.3g} [{low:.3g}, {high:.3g}]"


def _row(verdict: Verdict) -> dict[str, Any]:
    claim, evidence = asdict(verdict.claim), verdict.evidence
    del claim["switch"]  # what to call, not what was found
    measured = {
        key: None if evidence is None else getattr(evidence, key)
        for key in ("value", "low", "high", "n", "rows", "method", "condition")
    }
    outcome = {key: getattr(verdict, key) for key in ("outcome", "reason", "p", "p_holm", "outcome_holm")}
    return {"run": verdict.run, **claim, **measured, **outcome}


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
