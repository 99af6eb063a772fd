"""Trainings on advice that went on until all were made: what is said is measured, and contradicts nothing."""

from __future__ import annotations

from typing import Any

from m2m.pipeline.report.caveats import caveats
from m2m.pipeline.report.trust import trust_rows, trust_section


def results(trained: int) -> dict[str, Any]:
    pick = {"mixture": ["a", "b"], "trained": True, "regret": 0.000733, "limit": 0.0, "within": 1.0}
    pearson = {"value": None, "low": None, "high": None, "n": trained, "reason": "too few"}
    trust = {
        "stopped": "2 were asked for", "trainings": [], "mixtures": 4, "trained": trained, "tolerance": 0.05,
        "limit_level": 0.95, "range": 0.5, "pick": pick, "believed": pick, "pearson": pearson, "next": None,
        "merging": pick | {"mixture": ["a", "c"], "regret": 0.25, "limit": 0.3},
    }  # fmt: skip
    return {"trust": trust, "test": {"picked": 1.0}, "fidelity": {}, "target": "t"}


def test_where_all_are_trained_nothing_is_believed() -> None:
    found = results(4)
    rows = dict(trust_rows(found["trust"]))
    assert rows["regret"].startswith("none that these trainings show")
    assert rows["regret of merging's pick"] == "about 0.25"
    said = " ".join([*caveats(found), *rows.values(), trust_section(found)])
    for contradiction in ("0.000733", "at most 0", "Some mixtures", "belief", "expected"):
        assert contradiction not in said


def test_where_some_are_trained_the_rest_is_believed() -> None:
    found = results(3)
    assert "expected 0.000733" in dict(trust_rows(found["trust"]))["regret"]
    assert "Some mixtures" in trust_section(found)
    assert any("is a belief from 3 of 4" in said for said in caveats(found))
