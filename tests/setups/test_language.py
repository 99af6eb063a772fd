"""The language set-up: examples, splits without leakage, loss, version."""

import random
from collections.abc import Mapping

import pytest
import torch

from m2m import setups
from m2m.errors import ConfigError, DataError
from m2m.setups.protocol import load_state

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "lmnrst"]


def write_documents(folder, name: str, count: int, seed: int) -> None:
    draw = random.Random(seed)
    (folder / name).mkdir()
    for number in range(count):
        (folder / name / f"{number}.txt").write_text(" ".join(draw.choices(WORDS, k=60)))


@pytest.fixture
def spec(tmp_path):
    for seed, name in enumerate(("red", "blue", "green", "grey")):
        write_documents(tmp_path, name, 30, seed)
    base = {"layers": 1, "width": 16, "heads": 2, "context": 16, "steps": 2, "batch": 2}
    return {
        "kind": "language",
        "model": "byte-gpt",
        "base": {**base, "text": {"grey": {"files": "grey/*.txt"}}},
        "datasets": {name: {"files": f"{name}/*.txt"} for name in ("red", "blue")},
        "targets": {
            "red": {"dataset": "red", "validation": 10, "test": 6},
            "green": {"files": "green/*.txt", "validation": 12, "test": 8},
        },
    }


def load(spec: Mapping, tmp_path):
    return setups.load(spec, tmp_path, tmp_path / "cache")


def test_examples_are_windows_that_overlap_by_one_byte(spec, tmp_path):
    windows = load(spec, tmp_path).datasets["blue"].tensors[0]
    assert windows.dtype == torch.uint8
    assert windows.shape[1] == 17
    assert torch.equal(windows[1:, 0], windows[:-1, -1])
    joined = bytes(windows[:, :-1].flatten().tolist()).decode()
    assert all((tmp_path / "blue" / f"{n}.txt").read_text() in joined + "\n" for n in range(5))


def test_targets_have_the_asked_sizes(spec, tmp_path):
    targets = load(spec, tmp_path).targets
    assert {n: (len(t.validation), len(t.test)) for n, t in targets.items()} == {
        "red": (10, 6),
        "green": (12, 8),
    }


def test_training_validation_and_test_share_no_text(spec, tmp_path):
    setup = load(spec, tmp_path)
    trained = bytes(setup.datasets["red"].tensors[0][:, :-1].flatten().tolist())
    splits = [setup.targets["red"].validation, setup.targets["red"].test]
    validation, test = ({bytes(window.tolist()) for window in split.tensors[0]} for split in splits)
    # Three words in a row that two documents share by chance: one in 360³.
    assert not any(window in trained for window in validation | test)
    assert not validation & test


def test_a_dataset_keeps_all_its_text_unless_a_target_holds_some_out(spec, tmp_path):
    held_out = len(load(spec, tmp_path).datasets["red"])
    del spec["targets"]["red"]
    assert held_out < len(load(spec, tmp_path).datasets["red"])


def test_limit_spreads_over_the_whole_dataset(spec, tmp_path):
    everything = load(spec, tmp_path).datasets["blue"].tensors[0]
    spec["datasets"]["blue"]["limit"] = 7
    few = load(spec, tmp_path).datasets["blue"].tensors[0]
    assert torch.equal(few, everything[torch.arange(7) * len(everything) // 7])


def test_loss_is_the_mean_cross_entropy_in_nat_a_byte(spec, tmp_path):
    setup = load(spec, tmp_path)
    model = load_state(setup.build(), setup.base_state(tmp_path / "cache"))
    tokens = setup.datasets["red"].tensors[0][:3]
    with torch.no_grad():
        got = setup.loss(model, (tokens,))
        log_p = model(tokens[:, :-1].long()).double().log_softmax(-1)
    wanted = -log_p.gather(-1, tokens[:, 1:, None].long()).mean((1, 2))
    # float32 log-softmax over 256 logits: a few roundings of numbers below 16.
    torch.testing.assert_close(got.double(), wanted, rtol=0, atol=64 * 2.0**-24 * 16)
    inputs = setup.inputs((tokens,))
    assert torch.equal(setup.judge(model(**inputs), (tokens,))["loss"], got)
    assert setup.embed(model, (tokens,)).shape == (3, 16)


def test_the_version_is_stable_and_follows_data_and_model(spec, tmp_path):
    first = load(spec, tmp_path).version
    assert load(spec, tmp_path).version == first
    versions = {first}
    for table, change in ((spec["datasets"]["red"], {"limit": 5}), (spec["base"], {"steps": 3})):
        table.update(change)
        versions.add(load(spec, tmp_path).version)
    spec["targets"]["green"]["test"] = 9
    assert len(versions | {load(spec, tmp_path).version}) == 4


@pytest.mark.parametrize(
    ("path", "value", "error", "message"),
    [
        (("modle",), "byte-gpt", ConfigError, r"unknown key 'modle' \(did you mean 'model'\?\)"),
        (("model",), 3, ConfigError, "`model` must be"),
        (("base",), 3, ConfigError, "`base` must be a table"),
        (("datasets",), {}, ConfigError, r"wanted tables \[setup.datasets.NAME\]"),
        (("datasets", "red", "limits"), 3, ConfigError, r"\[setup.datasets.red\]: unknown key 'limits'"),
        (
            ("datasets", "red", "limit"),
            0,
            ConfigError,
            r"\[setup\.datasets\.red\]: `limit` must be a whole number of at least 1, got 0",
        ),
        (("targets", "red", "dataset"), "rot", ConfigError, r"no dataset \['rot'\] to hold text out of"),
        (("targets", "red", "files"), "x", ConfigError, r"\[setup.targets.red\]: unknown key 'files'"),
        (("targets", "green", "test"), 9999, DataError, r"\d+ test examples of 16 tokens, wanted 9999"),
        (("datasets", "../red"), {}, ConfigError, r"\[setup.datasets\]: dataset name '../red' begins with"),
        (("datasets", "Red"), {}, ConfigError, r"'red' and 'Red' differ in case"),
        (("targets", "a+b"), {}, ConfigError, r"\[setup.targets\]: target name 'a\+b' has"),
        (("base", "text", "a\n"), {}, ConfigError, r"\[setup.base.text\]: base text name 'a\\n' has"),
        (("datasets", "red", "files"), "red/none*", DataError, "no file matches 'red/none"),
        (("datasets", "blue", "share"), [0, 1e-9], DataError, "no document falls in this part"),
    ],
)
def test_a_bad_table_is_one_clear_error(spec, tmp_path, path, value, error, message):
    table = spec
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    with pytest.raises(error, match=message):
        load(spec, tmp_path)
