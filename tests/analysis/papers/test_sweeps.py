"""Sweeps of mixtures in workers find what they find here."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.subset_truth import place_of, toy

from analysis.error_bound import study as bounds
from analysis.papers.sweeps import Sweep, swept
from m2m.executors.local import Local


@pytest.mark.slow
def test_a_worker_finds_the_same_bits_and_tells_how_far_it_is(tmp_path: Path) -> None:
    _, folder = toy(tmp_path).run(place_of("toy", tmp_path / "out"), "fast")
    sweeps = [Sweep(folder.root, 2, "a+b", "rain")]
    told: list[tuple[int, int]] = []
    alone = swept(sweeps, Local(1), lambda done, total, _: told.append((done, total)))
    together = swept(sweeps, Local(1, alone=False), lambda done, total, _: None)
    assert [study.ingredients.mixture.label for study in alone] == ["a+b"]
    assert told
    assert all(done <= total == 16 for done, total in told)
    for one, other in zip(alone, together, strict=True):
        assert bounds.to_tables(one)[""].equals(bounds.to_tables(other)[""])
