"""A run of more datasets than can be scored in all mixtures searches; what it says is about those."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from helpers.killed import killed_every
from helpers.linear_runs import run, write_config

from m2m.errors import ConfigError
from m2m.pipeline.report import write_report
from m2m.pipeline.run_folder import RunFolder
from m2m.scoring.table import ScoreTable

MANY = string.ascii_lowercase[:13]


def results(folder: RunFolder) -> dict[str, object]:
    return {key: value for key, value in folder.read_results().items() if key != "seconds"}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("searched")
    return run(write_config(folder, "budget = 22", names=MANY), folder / "out")


def test_a_budget_is_what_is_scored_beside_the_baselines(searched: RunFolder) -> None:
    found = searched.read_results()
    with ScoreTable(searched.table) as table:
        rows = table.rows(origin="merged", task="target", split="validation")
        others = {row.candidate for row in table.rows(origin="merged", task="other")}
    labels = {row.candidate for row in rows}
    assert set(MANY) <= labels == others
    assert found["candidates"] == {"scored": len(labels), "of": 2**13 - 1}
    baselines = {"+".join(found[name]) for name in ("all", "similarity", "random")}
    assert baselines <= labels
    assert 22 <= len(labels) <= 22 + 3
    assert found["picked"] == min(rows, key=lambda row: row.value).members
    said = f"{len(labels)} of 8191 mixtures were merged and scored"
    page = write_report(searched.root).read_text()
    assert said in page
    assert f"Of {len(labels)} mixtures that a search scored, of 8191 there are" in page


def test_a_killed_search_ends_in_the_same_results(searched: RunFolder, tmp_path: Path) -> None:
    path = write_config(tmp_path, "budget = 22", names=MANY)
    folder = killed_every(12, lambda interrupt: run(path, tmp_path / "out", interrupt))
    assert results(folder) == results(searched)


def test_a_budget_for_all_mixtures_is_no_search(tmp_path: Path) -> None:
    plain = run(write_config(tmp_path, names="abc"), tmp_path / "plain")
    roomy = run(write_config(tmp_path, "budget = 7", names="abc"), tmp_path / "roomy")
    assert results(plain) == results(roomy)
    assert plain.read_results()["candidates"] == {"scored": 7, "of": 7}
    # A smaller one is a search, and more of it goes on in the same folder.
    few = run(write_config(tmp_path, "budget = 4", names="abc"), tmp_path / "few")
    assert few.read_results()["candidates"]["scored"] < 7
    run(write_config(tmp_path, names="abc"), few.root)
    assert results(few) == results(plain)


def test_a_search_is_judged_by_trainings_and_chooses_for_several_targets(tmp_path: Path) -> None:
    several = "{ target = 2, other = 1 }"
    path = write_config(tmp_path, "budget = 9\nvalidate = 3", target=several, seed=18)
    found = run(path, tmp_path / "out").read_results()
    assert found["candidates"]["scored"] < found["candidates"]["of"] == 15
    assert found["trust"]["mixtures"] == found["candidates"]["scored"] - 4
    assert found["trust"]["pick"]["mixture"] == found["picked_after_trainings"]


@pytest.mark.parametrize(
    ("line", "names", "said"),
    [
        ("validate = true", MANY, "a search scores 300 of 8191; say how many to train, as in `validate = 6`"),
        ("budget = 4", "abcd", "`budget` must be above the 4 datasets"),
        ("budget = 0", "abcd", "`budget` must be a whole number of at least 1, got 0"),
        ("", "a", "got 1 datasets; a mixture wants 2 or more"),
    ],
)
def test_what_cannot_be_searched(line: str, names: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        run(write_config(tmp_path, line, names=names), tmp_path / "out")
    assert not (tmp_path / "out").exists()
