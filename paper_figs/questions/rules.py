"""Do other merge rules select better than the mean: paired leads, and what their picks lose."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.part import Part, Table
from paper_figs.questions.verdict import ABOUT, about, verdict
from paper_figs.tables import estimate, result, written

EXPERIMENT, NAME = "question_rules", "question_rules"
#: arXiv 2602.00747: macro Spearman of merged proxies by rule, as printed.
_PRINTED = {"mean": 0.787, "slerp": 0.785, "della": 0.784, "ties": 0.783, "dare": 0.757}


def draw(results: Path, out: Path) -> list[Path]:
    """Draw every rule's lead over the mean, with each target's."""
    rules = result(results, EXPERIMENT)["rules"]
    with style.look():
        figure = Figure(figsize=(style.PAGE, 0.7 + 0.24 * len(rules)), layout="constrained")
        axes = figure.subplots()
        for row, rule in enumerate(rules.values()):
            lead = rule["spearman_lead"]
            axes.scatter(rule["spearman_leads"], [row] * len(rule["spearman_leads"]), s=7, color=style.SKY)
            if lead["low"] is not None:
                axes.plot([lead["low"], lead["high"]], [row, row], color=style.BLUE, linewidth=1.4)
            if lead["value"] is not None:
                axes.scatter([lead["value"]], [row], s=26, color=style.BLUE, marker="D", zorder=3)
        axes.axvline(0, color=style.GREY, linewidth=0.8)
        axes.set_yticks(range(len(rules)), [rule["words"] for rule in rules.values()])
        axes.set_ylim(len(rules) - 0.5, -0.5)
        axes.set_xlabel("Spearman's ρ, less that of the mean: targets (dots), their mean and its interval")
        return style.save(figure, out / NAME)


def tables(results: Path) -> list[Table]:
    """Return a row a rule, the mean first and what needs no merge last."""
    content = result(results, EXPERIMENT)
    header = ["rule", "mixtures", "ρ", "ρ less the mean's", "r less the mean's", "regret",
              "regret, pairs of targets", "less the mean's, pairs", "DeMix's ρ"]  # fmt: skip
    rows = [_row("mean", content["mean"])]
    rows += [_row(name, rule) for name, rule in content["rules"].items()]
    rows += [_row(name, way) for name, way in content["free"].items()]
    return [Table("", [header, *rows])]


def _row(name: str, rule: Mapping[str, Any]) -> list[str]:
    printed = _PRINTED.get(name)
    return [
        rule["words"],
        str(rule["mixtures"]),
        estimate(rule["spearman"]),
        estimate(rule.get("spearman_lead")),
        estimate(rule.get("pearson_lead")),
        estimate(rule.get("regret"), ".1%"),
        estimate(rule.get("pairs_regret"), ".1%"),
        estimate(rule.get("pairs_regret_lead"), ".1%"),
        "–" if printed is None else f"{printed:.3f}",
    ]


def _caption(results: Path) -> str:
    content = result(results, EXPERIMENT)
    rules = content["rules"]
    by: dict[str, list[str]] = {"better": [], "worse": [], "same": []}
    for rule in rules.values():
        by[verdict(rule["spearman_lead"], "better", "worse", "same")].append(rule["words"])
    said = [f"{words}: {'; '.join(by[key])}" for key, words in _OUTCOMES.items() if by[key]]
    if not by["better"]:
        said.insert(0, "no rule can be told to select better than the mean")
    count, expected = len(rules), 0.025 * len(rules)
    sentences = ". ".join(words[0].upper() + words[1:] for words in said)
    return (
        f"**Verdict**: {sentences}. Of {count} rules {written(expected, '.1f')} would be told better "
        f"by chance.\n\n{about(content)}; {content['mean']['mixtures']} mixtures of two or more × "
        f"{len(content['targets'])} targets, truth of {content['truth_seeds']} seeds. ρ is the mean of the "
        "targets' correlations with the trained scores; regret is of the pick among all mixtures, share of "
        "the range. Parameters are the usual ones and were not tuned; Scheffé's correction is asked of three "
        "datasets and more, as it has pairs trained. SLERP of more than two is Multi-SLERP. DeMix's are "
        f"macro averages over its 96 mixtures. {ABOUT}"
    )


_OUTCOMES = {
    "better": "select better than the mean",
    "worse": "select worse than the mean",
    "same": "no difference to the mean can be told",
}

PART = Part(
    "Do other merge rules select better than the mean?", (EXPERIMENT,), _caption, draw=draw, tables=tables
)
