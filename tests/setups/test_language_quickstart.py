"""The quickstart's data, as its configuration reads it: sizes, and no unseen text in what trains."""

import tomllib
from pathlib import Path

import pytest

from m2m import setups
from m2m.data import GROUPS, cache_dir

CONFIG = Path(__file__).parents[2] / "examples" / "quickstart.toml"
UNSEEN = ("protobuf", "javascript", "italian")

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def spec():
    return tomllib.loads(CONFIG.read_text())["setup"]


@pytest.fixture(scope="module")
def setup(spec):
    return setups.load(spec, CONFIG.parent, cache_dir())


def training_bytes(setup) -> dict[str, bytes]:
    texts = {n: bytes(e.tensors[0][:, :-1].flatten().tolist()) for n, e in setup.datasets.items()}
    return texts | {"base": setup.language_model.text.numpy().tobytes()}


def word_8_grams(text: bytes) -> list[tuple[bytes, ...]]:
    words = text.split()
    return [tuple(words[at : at + 8]) for at in range(len(words) - 7)]


def windows(target) -> list[bytes]:
    return [bytes(row.tolist()) for split in (target.validation, target.test) for row in split.tensors[0]]


def test_the_fetch_group_is_what_the_configuration_uses(spec):
    tables = [*spec["datasets"].values(), *spec["targets"].values(), *spec["base"]["text"].values()]
    used = [table.get("package", []) for table in tables]
    names = {name for value in used for name in ([value] if isinstance(value, str) else value)}
    assert names == set(GROUPS["quickstart"])


def test_every_dataset_lasts_for_an_expert(setup):
    # 40 steps of 16 examples: no expert sees an example twice.
    assert {name: len(e) for name, e in setup.datasets.items() if len(e) < 40 * 16} == {}


@pytest.mark.parametrize("name", UNSEEN)
def test_no_window_of_an_unseen_target_is_in_anything_that_trains(setup, name):
    texts = training_bytes(setup)
    unseen = windows(setup.targets[name])
    assert [where for where, text in texts.items() if any(window in text for window in unseen)] == []


def test_validation_and_test_share_no_window(setup):
    for target in setup.targets.values():
        validation, test = (
            {bytes(r.tolist()) for r in s.tensors[0]} for s in (target.validation, target.test)
        )
        assert not validation & test


@pytest.mark.parametrize("name", UNSEEN)
def test_unseen_targets_share_hardly_a_phrase_with_the_datasets(setup, name):
    texts = training_bytes(setup)
    trained = {gram for dataset in setup.datasets for gram in word_8_grams(texts[dataset])}
    grams = [gram for window in windows(setup.targets[name]) for gram in word_8_grams(window)]
    assert len(grams) > 500
    assert sum(gram in trained for gram in grams) / len(grams) < 0.01
