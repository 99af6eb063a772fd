"""OUT that is a link or a volume: followed or filled, whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import m2m
from m2m.checkpoint import Checkpoint, save, verify
from m2m.checkpoint.folder import publish
from m2m.errors import RunFolderError

ROOT = Path(__file__).parents[3]
FILL = """
import os, sys
from pathlib import Path
import m2m
from m2m.checkpoint import verify
volume = Path(sys.argv[1])
(volume / "lost+found").mkdir()
recipe = {"merge_method": "linear", "models": [{"model": "a", "parameters": {"weight": 1.0}}]}
m2m.merge(recipe, volume)
verify(volume)
print(*sorted(os.listdir(volume)))
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate("ab", start=1):
        save({"w": torch.full((3,), float(number))}, tmp_path / name)
    return {
        "merge_method": "linear",
        "models": [{"model": name, "parameters": {"weight": 0.5}} for name in "ab"],
    }


@pytest.mark.parametrize("there", [True, False])
def test_a_link_to_an_empty_folder_or_to_nothing_is_followed(recipe: dict[str, object], there: bool) -> None:
    if there:
        Path("real").mkdir()
    Path("out").symlink_to("real")
    m2m.merge(recipe, "out")
    assert Path("out").is_symlink()
    assert torch.equal(Checkpoint("real").read("w"), torch.full((3,), 1.5))
    assert sorted(os.listdir()) == ["a", "b", "out", "real"]
    save({"w": torch.ones(1)}, "fresh")
    Path("other").symlink_to("made")
    save({"w": torch.ones(1)}, "other")
    assert Path("other").is_symlink()
    verify(Path("made"))


def test_a_mounted_folder_is_filled(recipe: dict[str, object], tmp_path: Path) -> None:
    del recipe
    volume = tmp_path / "a volume"
    volume.mkdir()
    script = f"mount -t tmpfs none '{volume}' && exec '{sys.executable}' -c '{FILL}' '{volume}'"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip("nothing can be mounted here")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == sorted(["lost+found", "manifest.json", "model.safetensors", "README.md"])


def test_a_folder_is_filled_whole_or_not_at_all(tmp_path: Path) -> None:
    work = tmp_path / ".merging" / "result"
    work.mkdir(parents=True)
    for name in ("a", "manifest.json", "z"):
        (work / name).write_text(name)
    (tmp_path / "z").touch()  # somebody else's, since the merge began
    with pytest.raises(RunFolderError, match="z appeared in the meantime"):
        publish(work, tmp_path, durable=False)
    assert sorted(os.listdir(work)) == ["a", "manifest.json", "z"]
    assert sorted(os.listdir(tmp_path)) == [".merging", "z"]
    (tmp_path / "z").unlink()
    publish(work, tmp_path, durable=True)
    assert sorted(os.listdir(tmp_path)) == [".merging", "a", "manifest.json", "z"]


def test_an_output_is_not_made_of_its_own_unfinished_work(recipe: dict[str, object]) -> None:
    os.makedirs(".out.merging")
    os.rename("a", ".out.merging/a")
    recipe["models"] = [{"model": ".out.merging/a", "parameters": {"weight": 1.0}}]
    with pytest.raises(RunFolderError, match="cleared away"):
        m2m.merge(recipe, "out")
    assert torch.equal(Checkpoint(".out.merging/a").read("w"), torch.ones(3))
