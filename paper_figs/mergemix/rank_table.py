"""Spearman's ρ by capability, of merged models, of surfaces and of what is free (Table 2 of 2601.17858)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paper_figs.mergemix.set_up import NEEDS, found, utilities
from paper_figs.part import Part, Table
from paper_figs.tables import estimate

_SURROGATES = {
    "merged": "merged",
    "gp": "surface: Gaussian process",
    "lightgbm": "surface: LightGBM set for 40 rows",
    "lightgbm-mergemix": "surface: LightGBM as it comes",
    "scheffe": "merged, Scheffé-corrected (trains every pair)",
    "anchored": "merged of anchored experts (trained instead of plain ones)",
    "quadratic": "quadratic through the scores of experts and pairs (no merge)",
    "weighted_mean": "weighted mean of the experts' scores (no merge)",
    "heaviest_member": "the heaviest member's expert (no merge)",
}
#: What merging is held against pair by pair.
_BESIDE = ("scheffe", "anchored", "quadratic", "weighted_mean", "heaviest_member")
#: arXiv 2601.17858, Table 2: ρ of merged and trained over 12 full runs; the intervals are ours, from n = 12.
_PRINTED = {
    "Overall": ".92 [.67, .98]",
    "Math": ".84 [.43, .96]",
    "Code": ".80 [.33, .95]",
    "Knowledge": ".98 [.91, 1.0]",
    "Language": ".72 [.17, .93]",
    "Reasoning": ".89 [.57, .98]",
}


def tables(results: Path) -> list[Table]:
    """Return our table, a row a surrogate, and the paper's."""
    content = found(results)
    names = utilities(content)
    fidelity = content["fidelity"]
    rows = [
        [words, *(estimate(fidelity[name]["spearman"][key]) for name in names)]
        for key, words in _SURROGATES.items()
    ]
    leads = [
        [f"merged ahead of: {_SURROGATES[key]}", *(estimate(fidelity[name]["lead"][key]) for name in names)]
        for key in _BESIDE
    ]
    seeds = ["two seeds of the truth", *(estimate(fidelity[name]["seeds"]) for name in names)]
    ours = Table(f"ρ with really trained, n = {_n(fidelity)}", [["", *names], *rows, *leads, seeds])
    return [ours, Table("The paper, n = 12", [["", *_PRINTED], ["merged", *_PRINTED.values()]])]


def _n(fidelity: Mapping[str, Any]) -> int:
    return int(fidelity["overall"]["spearman"]["merged"]["n"])


def _caption(results: Path) -> str:
    sizes = found(results)["sizes"]
    return (
        "Spearman's ρ of each row with really trained scores (the mean of "
        f"{sizes['truth_seeds']} seeds, validation) over ratios drawn evenly from the simplex; intervals are "
        "about other ratios. Surfaces are fitted to the merged starting mixtures and predict the drawn ones. "
        "Every drawn ratio has all datasets, so the best member is the same for all: the heaviest stands for "
        f"it. Scheffé's correction and the quadratic have all {sizes['pairs']} pairs trained in equal parts; "
        "anchored experts (half own data, half all in equal parts) stand in the plain ones' place. *Two "
        "seeds of the truth*: ρ of one training seed with another, which bounds what can be "
        "expected of single trainings. A dash: a surface that is the same everywhere. The library's 20 rows "
        "a leaf let LightGBM as it comes split 40 rows once at most. The paper prints no settings, no seeds "
        "and no intervals: those beside its numbers follow from n = 12."
    )


PART = Part("Agreement of ranks by capability (Table 2)", NEEDS, _caption, tables=tables)
