"""The set-up on which MergeMix is redone, its words on the page, and what differs from the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paper_figs.tables import estimate, result

EXPERIMENT = "mergemix_ratios"
NEEDS = (EXPERIMENT,)
#: Ways of choosing a ratio, in words, by their names in results.
WAYS = {
    "mergemix": "MergeMix",
    "anchored": "MergeMix on anchored experts, β = 0.5",
    "lightgbm": "MergeMix, LightGBM set for 40 rows",
    "lightgbm-mergemix": "MergeMix, LightGBM as it comes",
    "regmix": "adapted RegMix: LightGBM on 10 runs",
    "best_of_trials": "best of 10 runs",
    "prior": "prior, written down beforehand",
    "uniform": "equal shares",
    "best_member": "best dataset alone (no merge)",
}


def found(results: Path) -> dict[str, Any]:
    """Return what the experiment found."""
    return result(results, EXPERIMENT)


def utilities(content: Mapping[str, Any]) -> list[str]:
    """Return the utilities, all capabilities first."""
    return ["overall", *content["capabilities"]]


def differences(results: Path) -> str:
    """Say what differs from the paper's set-up."""
    content = found(results)
    about, sizes = content["about"], content["sizes"]
    return (
        f"What differs. Here: {about['model']}; {about['data']}; experts and mixtures of {sizes['steps']} "
        f"steps of {sizes['batch']} examples. The paper: mixture-of-experts models of 8B and 16B parameters, "
        "four domains (mathematics, code, instructions, web), experts of 5B or 25B and mixtures of 25B or "
        "200B tokens, five groups of benchmarks, one training each."
    )


def scale() -> str:
    """Say what a utility is."""
    return (
        "A utility is the mean gain over the base model, each target's in its range over the merged starting "
        "mixtures; *overall* is the mean of the capabilities."
    )


def shares(of: dict[str, float]) -> str:
    """Write the shares of a ratio, `0.27 / 0.31 / 0.29 / 0.13`."""
    return " / ".join(f"{share:.2f}" for share in of.values())


def ahead(way: Mapping[str, Any]) -> str:
    """Write how far a way is ahead overall; a dash for the one that the others are compared with."""
    found = way["ahead"]["overall"]
    return "–" if found["value"] == 0 and found["low"] is None else estimate(found)


def trained_once(choice: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """Say which ways' ratios were so near that they were trained once; nothing if none were.

    Args:
        choice: What the ways chose, as results have it.
        words: The ways that are shown, in words.

    Returns:
        A sentence with a blank before it, or nothing.
    """
    pairs = [(way, choice[way]["trained_with"]) for way in words if choice[way]["trained_with"] in words]
    if not pairs:
        return ""
    told = "; ".join(f"{words[way]} with {words[other]}" for way, other in pairs)
    return f" Ratios of which fewer than one example in a hundred differ are trained once: {told}."
