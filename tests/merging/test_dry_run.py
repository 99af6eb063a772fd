"""`m2m check`: what it says of a merge is what the merge does, and nothing stays behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from m2m.checkpoint import save
from m2m.cli import main
from m2m.errors import CheckpointError, ConfigError, InputError, RecipeError, RunFolderError
from m2m.merging import dry_run, merge
from m2m.merging.dry_run import check


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base and two experts near it, of 40 layers and an embedding that is larger than all of them."""
    monkeypatch.chdir(tmp_path)
    base = {f"layers.{i}.w": torch.randn(64, 8) for i in range(40)} | {"embed.w": torch.randn(4096, 8)}
    save(base, tmp_path / "base")
    for name in ("a", "b"):
        moved = {key: value + torch.randn_like(value) / 50 for key, value in base.items()}
        save(moved, tmp_path / name)
    return tmp_path


def recipe(method: str = "ties", **more: Any) -> dict[str, Any]:
    models = [{"model": name, "parameters": {"weight": 0.5}} for name in ("a", "b")]
    return {"merge_method": method, "base_model": "base", "models": models, **more}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("method", ["linear", "ties"])
def test_a_check_says_what_the_merge_does(method: str) -> None:
    before = sorted(Path().rglob("*"))
    found = check(recipe(method), "out", shard_size="64KiB")
    assert sorted(Path().rglob("*")) == before
    report = merge(recipe(method), "out", shard_size="64KiB")
    assert (found.tensors, found.written_bytes) == (report.tensors, report.written_bytes)
    assert found.files == len([*Path("out").glob("*.safetensors")])
    assert found.threads == report.threads
    assert found.piece_bytes == found.written_bytes  # it is small, so all of it was merged
    assert found.read_bytes == report.read_bytes
    assert found.models["base"] == 4 * 8 * (40 * 64 + 4096)


@pytest.mark.usefixtures("folder")
def test_a_piece_is_spread_over_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_run, "PIECE_BYTES", 16 * 1024)
    merged: list[str] = []
    run_plan = dry_run.run_plan

    def noting(plan: Any, *rest: Any) -> Any:
        merged.extend(tensor.entry.name for tensor in plan.tensors)
        return run_plan(plan, *rest)

    monkeypatch.setattr(dry_run, "run_plan", noting)
    found = check(recipe("linear"))
    assert found.piece_bytes <= 16 * 1024
    assert 2 <= len(merged) <= 8
    assert "embed.w" not in merged
    assert found.written_bytes == 4 * 8 * (40 * 64 + 4096)
    # A weighted sum reads each input once, so that the piece's share of it is exact but for rounding.
    assert abs(found.read_bytes - 2 * found.written_bytes) <= 1


@pytest.mark.usefixtures("folder")
def test_candidates_are_counted() -> None:
    Path("table.csv").write_text("candidate,a,b\nx,1,0\ny,0.5,0.5\nz,0,1\n")
    found = check(recipe("linear"), candidates="table.csv")
    assert found.outputs == 3
    assert found.written_bytes == 3 * 4 * 8 * (40 * 64 + 4096)


@pytest.mark.usefixtures("folder")
def test_what_stops_the_merge_stops_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(Path().rglob("*"))
    with pytest.raises(RecipeError, match="did you mean 'dtype'"):
        check(recipe(dtpe="bfloat16"))
    with pytest.raises(ConfigError, match="too small"):
        check(recipe(), memory="1KiB")
    with pytest.raises(InputError, match="is an input, a, which would be written over"):
        check(recipe(), "a")
    save({"layers.0.w": torch.full((64, 8), float("nan"))}, Path("nan"))
    with pytest.raises(CheckpointError, match="NaN"):
        check({"merge_method": "passthrough", "models": [{"model": "nan"}]})
    monkeypatch.setattr(dry_run.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(RunFolderError, match=r"1000 B are free, the merge writes 208.0 KiB"):
        check(recipe(), "out")
    assert {path for path in set(Path().rglob("*")) - before if "nan" not in path.parts} == set()


@pytest.mark.usefixtures("folder")
def test_doubts_are_told_and_strict_refuses(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    Path("recipe.json").write_text(json.dumps(recipe()))
    assert main(["check", "recipe.json", "-q"]) == 0
    assert "nothing is doubtful" in capsys.readouterr().out
    for name, theta in (("base", 1e4), ("a", 1e6)):
        Path(name, "config.json").write_text(json.dumps({"rope_theta": theta}))
    assert main(["check", "recipe.json", "-q"]) == 0
    assert "1 doubts, above" in capsys.readouterr().out
    assert "rope_theta" in caplog.text
    assert main(["check", "recipe.json", "--strict", "-q"]) == 2
    assert main(["check", "recipe.json", "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["method"] == "ties"
