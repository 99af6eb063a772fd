"""A model id of the hub stands for its folder, here out of its client's cache; `hf://` reads parts of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from helpers.hub_server import COMMIT as COMMIT_OF_HUB
from helpers.hub_server import hub

from m2m.checkpoint import Checkpoint, save

pytest.importorskip("huggingface_hub", reason="needs the extra `huggingface`")

#: Two models, and what their tensors begin with.
MODELS = {"one": 1.0, "two": 3.0}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def run(
    home: Path, *command: str, online: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    away = {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "error"} if online is None else online
    command = (sys.executable, "-m", "m2m.cli", *command)
    return subprocess.run(
        command, env={**os.environ, "HF_HOME": str(home), **away}, capture_output=True, text=True, check=False
    )


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


def test_models_at_addresses_of_the_hub_are_read_in_parts(tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="needs the extra `remote`")
    states = {
        name: {f"w{i}": torch.full((40,), value + i) for i in range(3)} for name, value in MODELS.items()
    }
    for name, state in states.items():
        save(state, tmp_path / "hub" / "owner" / name)
    recipe = "merge_method: linear\nmodels:\n" + "".join(
        f"  - {{model: hf://owner/{name}{revision}, parameters: {{weight: 1}}}}\n"
        for name, revision in zip(states, ("", f"@{COMMIT_OF_HUB[:8]}"), strict=True)
    )
    (tmp_path / "recipe.yml").write_text(recipe)
    with hub(tmp_path / "hub") as (address, asked):
        online = {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "M2M_REMOTE_CACHE": str(tmp_path / "cache")}
        command = ("merge", str(tmp_path / "recipe.yml"), str(tmp_path / "out"), "--workers", "2")
        done = run(tmp_path / "home", *command, "--shard-size", "200", online=online)
        assert done.returncode == 0, done.stderr
        for missing in ("owner/none", "owner/one@other"):
            gone = run(tmp_path / "home", "info", f"hf://{missing}", online=online)
            assert (gone.returncode, gone.stderr) == (2, f"m2m: error: hf://{missing}: is not there\n")
    merged = Checkpoint(tmp_path / "out")
    assert [merged.read(f"w{i}").tolist() for i in range(3)] == [[2.0 + i] * 40 for i in range(3)]
    assert {line.split()[1] for line in asked if "owner/two" in line} == {COMMIT_OF_HUB[:8]}
    assert all("bytes=" in line for line in asked)
