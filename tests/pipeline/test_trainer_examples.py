"""The trainers of examples/trainers, run on a tiny Llama: what m2m asks is what they do."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from helpers.language_runs import write_language_run

from m2m.checkpoint import Checkpoint, save
from m2m.mixture import Mixture
from m2m.pipeline.own_trainer import OwnTrainer
from m2m.pipeline.steps import load_setup
from m2m.scoring import model_state

EXAMPLES = Path(__file__).parents[2] / "examples" / "trainers"


@pytest.mark.parametrize(
    ("script", "needs", "options"),
    [
        ("transformers_trainer.py", "transformers", ()),
        ("trl_sft.py", "trl", ("--lora",)),
    ],
)
def test_a_trainer_of_the_examples_trains(
    script: str, needs: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    if find_spec(needs) is None:
        pytest.skip(f"needs {needs}")
    config = write_language_run(tmp_path)
    setup, base = load_setup(config, None), tmp_path / "base"
    save(setup.base_state(tmp_path), base)
    recipe = replace(config.train, steps=2)
    command = ("{python}", str(EXAMPLES / script), *options)
    trainer = OwnTrainer(command, tmp_path, tmp_path / "trainings", setup, base, recipe)
    mixture = Mixture.subset(("one", "two", "three"), ("one", "two"))
    trainer.train(mixture, 7, tmp_path / "model", {"mixture": mixture.label})
    place = trainer.place(mixture, 7)
    losses = json.loads((place / "output" / "trainer_state.json").read_text())["log_history"]
    assert [entry["step"] for entry in losses if "loss" in entry] == [1, 2]
    curve = (tmp_path / "model" / "loss.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in curve] == ["step", "1", "2"]
    before, after = Checkpoint(base).state(), model_state(base, tmp_path / "model")
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert moved
    if options == ("--lora",):
        assert (tmp_path / "model" / "adapter_model.safetensors").exists()
        assert not any("embed" in name or "norm" in name for name in moved)
