"""Some mixtures really trained to judge the pick: which, how many, until when, and that it resumes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.killed import killed_every
from helpers.linear_runs import run, write_config

from analysis.trust import of_run
from m2m import pipeline
from m2m.errors import ConfigError, RunFolderError
from m2m.exporting import read_mixture
from m2m.pipeline import config
from m2m.pipeline.report import write_report
from m2m.pipeline.run_folder import RunFolder

#: A set-up on which training shows another mixture to be better than the one that merging picks.
MOVES = 18


def results(folder: RunFolder) -> dict[str, object]:
    return {key: value for key, value in folder.read_results().items() if key != "seconds"}


def trained(folder: RunFolder) -> set[str]:
    return {path.parent.name for path in folder.root.glob("mixtures/*/seed3")}


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("four")
    return run(write_config(folder, "validate = 4", seed=MOVES), folder / "out")


def test_as_many_are_trained_as_were_asked_for_beside_what_is_trained_in_any_case(four: RunFolder) -> None:
    found = four.read_results()
    made = found["trust"]["trainings"]
    paid = {"+".join(one["mixture"]) for one in made if not one["free"]}
    assert len(paid) == 4
    chosen = {"+".join(found[name]) for name in ("picked", "all", "similarity", "random")}
    assert trained(four) == paid | {label for label in chosen if "+" in label}
    assert sum(one["purpose"] == "random" for one in made) == 2
    assert found["trust"]["stopped"] == "4 were asked for"
    assert found["trust"]["trained"] == len(trained(four))
    assert "oracle" not in found
    assert found["fidelity"] == {}


def test_the_pick_moves_to_what_training_shows_to_be_better(four: RunFolder) -> None:
    found = four.read_results()
    picked, after = found["picked"], found["picked_after_trainings"]
    assert picked != after
    assert found["validation"]["picked_after_trainings"] < found["validation"]["picked"]
    assert f"which merging picked, has {found['validation']['picked']:.4g}" in found["why"]
    assert found["trust"]["pick"]["mixture"] == after
    assert found["trust"]["merging"]["regret"] > found["trust"]["pick"]["regret"]
    assert read_mixture(str(four.root)).members == tuple(after)
    page = write_report(four.root).read_text()
    assert f"Train on <b>{after[0]}</b> + <b>{after[1]}</b>" in page
    assert "picked after trainings" in page
    assert "is a belief from" in page
    assert "regret of merging&#x27;s pick" in page


def test_the_theory_reads_what_was_drawn_by_chance_from_the_run(four: RunFolder) -> None:
    landscape, _ = of_run(four.root)
    found = four.read_results()["trust"]["trainings"]
    drawn = {"+".join(one["mixture"]) for one in found if one["purpose"] == "random"}
    read = zip(landscape.mixtures, landscape.purposes, strict=True)
    assert {mixture.label for mixture, purpose in read if purpose == "random"} == drawn


def test_more_trainings_later_are_those_that_were_missing(four: RunFolder, tmp_path: Path) -> None:
    folder = run(write_config(tmp_path, "validate = 2", seed=MOVES), tmp_path / "out")
    assert len(trained(folder)) < len(trained(four))
    before = {path: path.stat().st_mtime_ns for path in folder.root.glob("mixtures/*/*/*")}
    run(write_config(tmp_path, "validate = 4", seed=MOVES), folder.root)
    assert results(folder) == results(four)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    # All of them, with a second seed: what is there is kept, and the truth takes the belief's place.
    run(write_config(tmp_path, "validate = true", seed=MOVES), folder.root)
    full = folder.read_results()
    assert len(trained(folder)) == 11
    assert full["oracle"] == full["picked_after_trainings"]
    assert "trust" not in full
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_run_killed_at_any_progress_makes_the_same_trainings(four: RunFolder, tmp_path: Path) -> None:
    path = write_config(tmp_path, "validate = 4", seed=MOVES)
    folder = killed_every(7, lambda interrupt: run(path, tmp_path / "out", interrupt))
    assert results(folder) == results(four)


@pytest.mark.parametrize(
    ("said", "names", "most", "why"),
    [
        ('until = "P(within 100 %) > 0.9"', "abcd", 2, "P(within 100 %) > 0.9 holds"),
        ('until = "P(within 0%) > 0.99999"\nvalidate = 2', "abcd", 2, "does not hold yet"),
        ('until = "P(within 0%) > 0.99999"', "abc", 4, "every mixture is trained"),
    ],
)
def test_trainings_stop_when_the_pick_is_good_enough(
    said: str, names: str, most: int, why: str, tmp_path: Path
) -> None:
    found = run(write_config(tmp_path, said, names=names), tmp_path / "out").read_results()
    assert sum(not one["free"] for one in found["trust"]["trainings"]) <= most
    assert found["trust"]["stopped"].endswith(why)


def test_a_pick_that_cannot_be_judged_says_why(tmp_path: Path) -> None:
    """Two datasets have one mixture: trained, and no belief from it."""
    found = run(write_config(tmp_path, "validate = 1", names="ab"), tmp_path / "out").read_results()["trust"]
    assert found["reason"] == "it takes 2 trained mixtures of two or more datasets, and there is 1"


def test_several_targets_are_judged_by_what_they_are_chosen_by(tmp_path: Path) -> None:
    path = write_config(tmp_path, "validate = 2", seed=MOVES, target="{ target = 2, other = 1 }")
    found = run(path, tmp_path / "out").read_results()
    trust = json.loads((tmp_path / "out" / "figures" / "trust.json").read_text())
    assert list(trust["by"]) == ["2 target + other", "target", "other"]
    assert trust["by"]["2 target + other"]["higher_is_better"]
    assert found["trust"]["pick"]["mixture"] == found["picked_after_trainings"]
    assert found["validation"]["picked_after_trainings"] >= found["validation"]["picked"]


def test_nobody_says_what_to_train(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"said by an adviser, and there is none"):
        pipeline.run(config.load(write_config(tmp_path, "validate = 2")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_notes_that_were_changed_say_so(tmp_path: Path) -> None:
    folder = run(write_config(tmp_path, "validate = 1", names="abc"), tmp_path / "out")
    for change, said in (
        ({"trainings": [{"mixture": ["x"], "purpose": "random", "free": False}]}, "unknown datasets"),
        ({"trainings": [{"mixture": ["a"]}]}, "purpose is missing"),
    ):
        content = json.loads(folder.validation.read_text())
        folder.validation.write_text(json.dumps(content | change))
        with pytest.raises(RunFolderError, match=said):
            run(tmp_path / "run.toml", folder.root)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("validate = 0", "`validate` must be true or false or a whole number of at least 1"),
        ('validate = "some"', "`validate` must be true"),
        ("until = 0.9", "`until` must be text"),
        ('until = "P(within 2) > 0.9"', r"of the form 'P\(within 2 %\) > 0.9', got 'P\(within 2\) > 0.9'"),
        ('until = "P(within 2 %) > 1"', "a probability below 1"),
        ('until = "P(within 1.2.3 %) > 0.5"', "of the form"),
    ],
)
def test_a_wrong_configuration(line: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        config.load(write_config(tmp_path, line))


def test_how_far_to_validate_is_no_part_of_what_a_folder_is_of(tmp_path: Path) -> None:
    wanted = ("", "validate = 2", "validate = true", 'until = "P(within 2 %) > 0.9"')
    assert len({config.load(write_config(tmp_path, line)).identity for line in wanted}) == 1
