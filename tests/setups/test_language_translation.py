"""The translation examples' data, as their configurations read them: enough, and nothing that was seen."""

import runpy
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from m2m.data import GROUPS, cache_dir
from m2m.setups.packaged_models import PACKAGED_MODELS
from m2m.setups.rows.formats import Completion
from m2m.setups.text import TextSource

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("translation_smollm2", "translation_smollm2_n4")


def spec_of(name):
    return tomllib.loads((EXAMPLES / f"{name}.toml").read_text(encoding="utf-8"))["setup"]


def of_catalogues(tables):
    return [table for table in tables.values() if "task" not in table]


def source_of(table):
    keys = ("package", "files", "read", "prompt", "letters", "share")
    return TextSource.parse({key: table[key] for key in keys}, "[example]")


@pytest.mark.parametrize("name", NAMES)
def test_targets_take_the_messages_that_no_dataset_takes(name):
    spec = spec_of(name)
    trained = max(source_of(table).share[1] for table in spec["datasets"].values())
    assert all(source_of(table).share[0] >= trained for table in of_catalogues(spec["targets"]))


@pytest.mark.parametrize("name", NAMES)
def test_the_fetch_group_is_what_the_configuration_uses(name):
    spec = spec_of(name)
    tables = [*spec["datasets"].values(), *of_catalogues(spec["targets"])]
    used = {package for table in tables for package in table["package"]}
    assert used | {PACKAGED_MODELS[spec["model"]].package} == set(GROUPS["translation"])


def test_the_small_example_is_a_part_of_the_large_one():
    large, small = (spec_of(name) for name in NAMES)
    assert small["datasets"].items() <= large["datasets"].items()
    assert {**small, "datasets": None} == {**large, "datasets": None}


@pytest.mark.parametrize("name", NAMES)
def test_questions_are_in_the_file_that_the_script_writes(name):
    script = runpy.run_path(str(EXAMPLES / "translation_choices.py"))
    assert EXAMPLES / spec_of(name)["targets"]["right_translation"]["file"] == script["FILE"]


def test_wrong_choices_look_like_the_right_one():
    questions = runpy.run_path(str(EXAMPLES / "translation_choices.py"))["questions"]
    pairs = [Completion(f"{n}?", "x" * (10 + n) + " %s" * (n % 2)) for n in range(20)]
    made = questions(pairs, 8)
    for number, item in enumerate(made):
        right = item["choices"][item["answer"]]
        assert right == pairs[number].completion
        assert len(set(item["choices"])) == 4
        # Among 20 lengths in a row, half of them with a placeholder, three as good are within 6 letters.
        assert all(wrong.count("%s") == right.count("%s") for wrong in item["choices"])
        assert all(abs(len(wrong) - len(right)) <= 6 for wrong in item["choices"])
    assert Counter(item["answer"] for item in made) == {0: 2, 1: 2, 2: 2, 3: 2}


@pytest.mark.network
def test_no_message_of_a_target_is_seen_in_any_language():
    spec = spec_of("translation_smollm2")
    places = {
        kind: {n: set(source_of(t).collect(Path(), cache_dir()).documents) for n, t in spec[kind].items()}
        for kind in ("datasets", "targets")
    }
    for name, table in spec["datasets"].items():
        assert len(places["datasets"][name]) >= table["limit"]
    trained, asked = (set().union(*found.values()) for found in places.values())
    assert not trained & asked
