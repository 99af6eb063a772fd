"""The report's section on merging beside its experts: numbers, what they are about, what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from m2m.pipeline.report.beside import beside

LEAD = {"value": -0.1, "low": -0.3, "high": 0.08, "n": 11, "method": "these mixtures", "reason": ""}
NONE = LEAD | {"value": None, "low": None, "high": None, "method": "", "reason": "merging itself"}
WIDE = LEAD | {"low": None, "high": None, "reason": "too few targets"}
REGRET = {"value": 0.02, "low": 0.0, "high": 0.11, "n": 6, "reason": ""}


def compared(lead: dict[str, Any]) -> dict[str, Any]:
    return {
        "pearson": 0.9, "spearman": 0.8, "n": 11, "reason": "", "pearson_lead": lead, "spearman_lead": lead
    }  # fmt: skip


def shown(**changes: Any) -> str:
    choices = {
        "utilities": 6, "best_is_mixed": 2, "picked_one": 4,
        "regret": {"merged": REGRET, "best_member": REGRET},
    }  # fmt: skip
    found = {
        "surrogates": {"merged": "merged model", "best_member": "best member's expert"},
        "overall": {"merged": compared(NONE), "best_member": compared(LEAD)},
        "choices": {"single targets": choices, "pairs and triples": choices},
        "left_out": {},
        "reason": "",
    }
    return "\n".join(beside(Path("nowhere"), {"beside": found | changes}))


def test_says_how_far_merging_is_ahead_and_what_the_picks_lose() -> None:
    page = shown()
    for expected in (
        "On 4 of 6 targets the mixture that merging picks is a single dataset: simply the best expert",
        "really mixed, as on 2 of 6 targets here",
        "-0.10 [-0.30, +0.08]",
        "2.0% [0.0%, 11.0%]",
        "11 mixtures × targets; intervals of what merging is ahead by: these mixtures.",
        "regret, single targets",
    ):
        assert expected in page
    assert "regret, pairs and triples<" not in page


def test_an_interval_that_is_not_there_has_its_reason() -> None:
    page = shown(overall={"merged": compared(NONE), "best_member": compared(WIDE)})
    assert "-0.10 (no interval: too few targets)" in page
    assert "ahead by:" not in page
    assert "– (merging itself)" in shown(overall={"merged": compared(NONE), "best_member": compared(NONE)})


def test_without_experts_it_says_what_to_do() -> None:
    page = shown(overall={}, reason="no target has its experts' scores", left_out={"t": "add the row <b>"})
    assert "no target has its experts" in page
    assert "<li>t: add the row &lt;b&gt;</li>" in page
    assert "earlier m2m" in "\n".join(beside(Path("nowhere"), {}))
