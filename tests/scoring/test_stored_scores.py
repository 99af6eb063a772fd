"""Scores that are stored stay good: keys and values are those that every version so far has written.

Values are held bit by bit against a merge of whole copies, scored on its own; keys against their definition.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.linear_setup import from_table, run_config
from safetensors.torch import save_file

import m2m
from m2m.checkpoint import Checkpoint
from m2m.cli import main
from m2m.mixture import Mixture, all_subsets
from m2m.pipeline import config, run
from m2m.scoring.table import ScoreTable
from m2m.support.content_keys import content_key

MODEL = """
import torch

METRICS = {"loss": False, "size": True}

def model():
    return torch.nn.Linear(3, 2, bias=False)

def task(model):
    with open("calls", "a") as calls:
        calls.write("x")
    return {"loss": (model.weight - 1.0).flatten() ** 2, "size": model.weight.flatten().abs()}
"""
#: Written by m2m 0.1 for the models of `bench`.
KEYS = {
    "a": "a52cbd43031a8ff8a2d8b8ff63e40ac7",
    "a+b": "17f9948371688a859e6bf491ad64ae83",
    "a+b+c": "ca796be2e1c0a097d9c171130620dfee",
}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """A base and three experts whose files' bytes are known, and a task."""
    monkeypatch.chdir(tmp_path)
    Path("task.py").write_text(MODEL, encoding="utf-8")
    weights = {
        name: (torch.arange(6, dtype=torch.float32).reshape(2, 3) * scale + shift) / 7
        for name, scale, shift in (("base", 0, 0), ("a", 3, -1), ("b", -5, 2), ("c", 11, 4))
    }
    for name, weight in weights.items():
        save_file({"weight": weight}, f"{name}.safetensors")
    return weights


def command(verb: str, *more: str) -> int:
    experts = [f"{name}.safetensors" for name in "abc"]
    models = ["--base", "base.safetensors", "--experts", *experts, "--model", "task.py:model"]
    return main([verb, *models, "--task", "task.py:task", "--out", "t.csv", "-q", *more])


def stored() -> dict[str, tuple[str, list[float]]]:
    """Return key and losses by candidate."""
    with ScoreTable(Path("t.sqlite")) as table:
        return {row.candidate: (row.key, row.examples.tolist()) for row in table.rows(metric="loss")}


def losses(weights: dict[str, torch.Tensor], mixture: Mixture) -> list[float]:
    experts = [weights[name] for name in mixture.datasets]
    merged = m2m.weighted_sum(experts, [list(mixture.weights)])[0]
    return ((merged - 1.0).flatten() ** 2).double().tolist()


@pytest.mark.parametrize("verb", ["score", "search"])
def test_score_tables_keep_their_keys_and_values(verb: str, bench: dict[str, torch.Tensor]) -> None:
    more = [] if verb == "score" else ["--strategy", "exhaustive", "--metric", "loss"]
    assert command(verb, *more) == 0
    found = stored()
    assert {name: found[name][0] for name in KEYS} == KEYS
    assert len({key for key, _ in found.values()}) == len(all_subsets("abc"))
    for mixture in all_subsets("abc"):
        assert found[mixture.label][1] == losses(bench, mixture)


@pytest.mark.usefixtures("bench")
def test_one_table_serves_scoring_and_searching() -> None:
    assert command("score") == 0
    asked = Path("calls").read_text(encoding="utf-8")
    assert command("search", "--strategy", "exhaustive", "--metric", "loss") == 2  # it would replace the CSV
    [scores] = Path().glob("*.csv")
    scores.unlink()
    assert command("search", "--strategy", "exhaustive", "--metric", "loss") == 0
    assert Path("calls").read_text(encoding="utf-8") == asked


def test_run_folders_keep_their_keys_and_values(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(run_config(), encoding="utf-8")
    folder = run(config.load(tmp_path / "run.toml"), tmp_path / "out", workers=1)
    experts = [folder.model(Mixture.subset("abc", [name]), 0) for name in "abc"]
    states = [Checkpoint(path).state() for path in experts]
    with ScoreTable(folder.table) as table:
        rows = {row.candidate: row for row in table.rows(origin="merged")}
    for mixture in all_subsets("abc"):
        row = rows[mixture.label]
        pairs = zip(experts, mixture.weights, strict=True)
        members = [(_key(path), weight) for path, weight in pairs if weight]
        assert row.key == content_key("merged", _key(folder.base), members)
        assert row.examples.tolist() == _losses(states, mixture)
        assert (row.seed, row.split, row.version) == (None, "validation", "linear-1")
    assert set(rows) == {mixture.label for mixture in all_subsets("abc")}


def _key(folder: Path) -> str:
    files = sorted(path for path in folder.glob("*.safetensors"))
    return content_key([(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files])


def _losses(states: list[dict[str, torch.Tensor]], mixture: Mixture) -> list[float]:
    setup = from_table({})
    model = setup.build()
    merged = {
        name: m2m.weighted_sum([state[name] for state in states], [list(mixture.weights)])[0]
        for name in ("theta", "scale")
    }
    model.load_state_dict(states[0] | merged)
    with torch.inference_mode():
        parts = [
            setup.judge(model(**setup.inputs(batch)), batch)["loss"]
            for batch in setup.targets["target"].validation.batches(setup.batch_size)
        ]
    return np.concatenate([part.double().numpy() for part in parts]).tolist()
