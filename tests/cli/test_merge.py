"""`m2m merge` and `m2m verify` on two small checkpoints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from m2m.checkpoint import Checkpoint, save
from m2m.cli import main

ROOT = Path(__file__).parents[2]

RECIPE = """
merge_method: linear
models:
  - {model: a, parameters: {weight: 0.25}}
  - {model: b, parameters: {weight: 0.75}}
dtype: float32
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two experts and a recipe, that commands run in."""
    monkeypatch.chdir(tmp_path)
    Path("recipe.yml").write_text(RECIPE, encoding="utf-8")
    for name, value in (("a", 4.0), ("b", 8.0)):
        save({"w": torch.full((2, 3), value)}, tmp_path / name)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_the_last_line_is_json_and_torch_stays_away() -> None:
    program = (
        "import sys; from m2m.cli import main; code = main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    command = [sys.executable, "-c", program, "merge", "recipe.yml", "out", "--json", "-q", "--verify"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["read_bytes"], report["written_bytes"]) == (48, 24)
    assert {"wall_s", "peak_rss_bytes", "peak_anon_bytes"} <= set(report)
    assert torch.equal(Checkpoint("out").state()["w"], torch.full((2, 3), 7.0))
    assert main(["verify", "out", "-q"]) == 0


@pytest.mark.usefixtures("folder")
def test_a_table_of_candidates_gives_a_folder_each() -> None:
    Path("table.csv").write_text("candidate,a,b\nhalf,0.5,0.5\nbeyond,-1,2\n", encoding="utf-8")
    assert main(["merge", "recipe.yml", "out", "--candidates", "table.csv", "-q"]) == 0
    merged = {name: Checkpoint(f"out/{name}").state()["w"][0, 0].item() for name in ("half", "beyond")}
    assert merged == {"half": 6.0, "beyond": 12.0}


@pytest.mark.usefixtures("folder")
def test_a_changed_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", "recipe.yml", "out", "-q"]) == 0
    [shard] = Path("out").glob("*.safetensors")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    assert main(["verify", "out"]) == 2
    err = capsys.readouterr().err
    assert shard.name in err
    assert err.count("\n") == 1


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["none.yml", "out"], "none.yml"),
        (["recipe.yml", "a"], "a"),
        (["recipe.yml", "out", "--dtype", "float12"], "float12"),
        (["recipe.yml", "out", "--candidates", "none.csv"], "none.csv"),
        # What an unset variable of a shell gives is not the default.
        (["recipe.yml", "out", "--candidates", ""], "wanted a file (the candidates)"),
        (["recipe.yml", "out", "--dtype", ""], "unknown dtype ''"),
        (["recipe.yml", "o\0ut"], "a path cannot hold a null character"),
        (["recipe.yml", "x" * 300], "has a name of 300 bytes, wanted at most 255"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["merge", *argv]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("m2m: error: ")
    assert err.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["a", "b", "recipe.yml"]


@pytest.mark.usefixtures("folder")
def test_any_name_and_any_number_of_threads_will_do() -> None:
    assert main(["merge", "recipe.yml", "out", "--threads", "100000"]) == 0
    other = os.fsdecode(b"of another \xff time")
    Path(other).mkdir()
    Path("a").rename(f"{other}/a")
    Path("b").rename(f"{other}/b")
    Path("recipe.yml").rename(f"{other}/recipe.yml")
    os.chdir(other)
    assert main(["merge", "recipe.yml", "out"]) == 0
    assert main(["verify", "out"]) == 0
    assert torch.equal(Checkpoint(Path("out")).read("w"), Checkpoint(Path("../out")).read("w"))
