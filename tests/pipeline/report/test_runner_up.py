"""Who comes after the pick: said in a line, in the table and among the caveats, or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from m2m.pipeline.report.caveats import caveats
from m2m.pipeline.report.runner_up import best_merged_section, runner_up, too_close

PICK = {"mixture": ["arith", "caps"], "score": 1.0, "difference": 0.0, "lead": None}


def results(*others: dict[str, Any], **changes: Any) -> dict[str, Any]:
    found = {"picked": ["arith", "caps"], "metric": "loss", "best_merged": [PICK, *others]}
    return {**found, "test": {"picked": 1.0}, "fidelity": {}, "target": "t", **changes}


def behind(name: str, value: float, half: float) -> dict[str, Any]:
    lead = {"value": value, "low": value - half, "high": value + half, "n": 64}
    return {"mixture": [name], "score": 1 - value, "difference": value, "lead": lead}


def test_a_runner_up_that_the_examples_cannot_tell_from_the_pick() -> None:
    found = results(behind("caps", -0.035, 0.093), behind("<b>", -0.5, 0.1))
    assert runner_up(found) == (
        "runner-up: caps, by -0.035 [-0.128, +0.058] on 64 examples: these cannot tell the two apart"
    )
    assert too_close(found) in list(caveats(found))
    page = best_merged_section(found)
    assert "no, by 64 examples" in page
    assert "yes" in page
    assert "&lt;b&gt;" in page


def test_a_clear_lead_is_no_caveat() -> None:
    found = results(behind("caps", -0.5, 0.1), behind("arith", -0.6, 1.0))
    assert runner_up(found) == "runner-up: caps, by -0.5 [-0.6, -0.4] on 64 examples"
    assert too_close(found) == ""


def test_without_values_of_examples_only_the_difference_is_said() -> None:
    found = results(behind("caps", -0.5, 0.1) | {"lead": None})
    assert (runner_up(found), too_close(found)) == ("runner-up: caps, by -0.5", "")


@pytest.mark.parametrize(
    "found",
    [results(), results(best_merged=[]), results(behind("caps", -0.5, 0.1), picked_after_trainings=["caps"])],
)
def test_no_runner_up(found: dict[str, Any]) -> None:
    assert runner_up(found) == ""
