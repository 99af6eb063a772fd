"""`save_moments`: second moments beside a run's experts, which change no weight and no score."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from helpers.linear_setup import run_config

from m2m import pipeline
from m2m.checkpoint import Checkpoint, verify
from m2m.checkpoint.locate import MOMENTS_NAME
from m2m.errors import RunFolderError
from m2m.merging import merge
from m2m.pipeline import config
from m2m.pipeline.run_folder import RunFolder


def run(place: Path, *, moments: bool) -> RunFolder:
    text = run_config("validate = true\ntruth_seeds = 1").replace('"sgd"', '"adamw"')
    kept = "save_moments = true\n" if moments else ""
    (place / "run.toml").write_text(text.replace("[setup]", f"{kept}[setup]"))
    return pipeline.run(config.load(place / "run.toml"), place / "run", workers=1)


def test_moments_are_kept_beside_experts_and_change_nothing_else(tmp_path: Path) -> None:
    run(tmp_path, moments=False)
    root, table = tmp_path / "run", tmp_path / "run" / "scores.csv"
    before = table.read_bytes()
    experts = [root / "experts" / name / "seed0" for name in "abc"]
    weights = [(folder / "model.safetensors").read_bytes() for folder in experts]
    with pytest.raises(RunFolderError, match=r"experts/a/seed0 .*without keeping its second moments"):
        run(tmp_path, moments=True)
    shutil.rmtree(root / "experts")
    run(tmp_path, moments=True)
    assert table.read_bytes() == before, "nothing was scored again"
    assert [(folder / "model.safetensors").read_bytes() for folder in experts] == weights
    assert sorted(path.parents[1].name for path in root.rglob(MOMENTS_NAME)) == ["a", "b", "c"]
    for folder in experts:
        verify(folder)
        moments = Checkpoint(folder / MOMENTS_NAME).state()
        assert {name: tensor.dtype for name, tensor in moments.items()} == {"theta": torch.float32}
        assert moments["theta"].shape == Checkpoint(folder).read("theta").shape
    run(tmp_path, moments=False)  # a run that asks for less takes them as they are
    recipe = {
        "merge_method": "adam_merge",
        "base_model": str(root / "base"),
        "models": [{"model": str(folder)} for folder in experts],
    }
    merged = merge(recipe, tmp_path / "merged")
    assert merged.notes
    assert "theta" not in merged.notes[0], "only what is frozen has no moments"
