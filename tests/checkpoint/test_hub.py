"""A model id of the hub stands for its folder; here out of the hub client's cache, with the network off."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from m2m.checkpoint import save

pytest.importorskip("huggingface_hub", reason="needs the extra `huggingface`")

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def run(home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "error"}
    command = (sys.executable, "-m", "m2m.cli", *command)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def cached(home: Path, model: str, value: float, pickled: bool = False) -> None:
    """Lay a model of one tensor into the client's cache as a download would."""
    place = home / "hub" / f"models--{model.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    folder = place / "snapshots" / COMMIT
    state = {"w": torch.full((4,), value)}
    if pickled:
        folder.mkdir(parents=True)
        torch.save(state, folder / "pytorch_model.bin")
    else:
        save(state, folder)
        (folder / "manifest.json").unlink()
    (folder / "config.json").write_text("{}")


def test_ids_in_a_recipe_are_merged_like_folders(tmp_path: Path) -> None:
    cached(tmp_path / "home", "owner/one", 1.0)
    cached(tmp_path / "home", "owner/two", 3.0, pickled=True)
    recipe = tmp_path / "recipe.yml"
    recipe.write_text(
        "merge_method: linear\nmodels:\n"
        "  - {model: owner/one, parameters: {weight: 1}}\n  - {model: owner/two, parameters: {weight: 1}}\n"
    )
    done = run(tmp_path / "home", "merge", str(recipe), str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    from m2m.checkpoint import Checkpoint

    assert Checkpoint(tmp_path / "out").read("w").tolist() == [2.0] * 4
    assert (tmp_path / "out" / "config.json").exists()


def test_what_is_neither_here_nor_there_is_one_line(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yml"
    recipe.write_text("merge_method: linear\nmodels: [{model: owner/none, parameters: {weight: 1}}]\n")
    done = run(tmp_path, "merge", str(recipe), str(tmp_path / "out"))
    assert done.returncode == 2
    assert "owner/none" in done.stderr
    assert "cannot be fetched from the hub" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
