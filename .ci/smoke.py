"""What an installed m2m must do with numpy alone, and with the extra `tables`; run by the wheel's Python."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

RECIPE = """\
merge_method: linear
models:
- {model: a, parameters: {weight: 0.25}}
- {model: b, parameters: {weight: 0.75}}
"""
TABLE = """\
members,merged,trained
a,1.0,1.1
b,0.9,0.7
c,0.7,0.8
a+b,0.5,0.6
a+c,0.4,0.3
b+c,0.2,0.3
a+b+c,0.1,0.2
"""


def main() -> None:
    """Play the scene that is named."""
    assert find_spec("torch") is None, "torch is here: what works without it cannot be told"
    with tempfile.TemporaryDirectory() as folder:
        {"merging": merging, "tables": tables}[sys.argv[1]](Path(folder))


def merging(folder: Path) -> None:
    """Merge two checkpoints, and check the numbers; what needs torch says so in one line."""
    values = {name: write_checkpoint(folder / name, seed) for seed, name in enumerate("ab")}
    (folder / "recipe.yml").write_text(RECIPE)
    assert m2m(folder, "--version").startswith("m2m "), "no version"
    assert "error" not in json.loads(m2m(folder, "doctor", "--json"))["extension"]
    m2m(folder, "check", "recipe.yml", "merged")
    m2m(folder, "merge", "recipe.yml", "merged", "--verify", "-q")
    # A quarter of a float32 is exact, so that the sum is rounded once, as float64's is here.
    wanted = (0.25 * values["a"].astype("f8") + 0.75 * values["b"].astype("f8")).astype("<f4")
    merged = read_checkpoint(folder / "merged")
    assert np.array_equal(merged, wanted), merged - wanted
    m2m(folder, "diff", "a", "merged", "--json")
    assert "complete" in m2m(folder, "--completion", "bash")
    said = m2m(
        folder, "score", "--base", "a", "--experts", "b", "--task", "lm:recipe.yml", "--out", "s.csv", code=2
    )
    assert said.count("\n") == 1, said
    assert "m2m[train]" in said, said


def tables(folder: Path) -> None:
    """Ask how well merged scores stand in for trained ones, of a table."""
    (folder / "scores.csv").write_text(TABLE)
    m2m(folder, "fidelity", "scores.csv", "--merged", "merged", "--trained", "trained", "--out", "fidelity",
        program="m2m-analysis")  # fmt: skip
    assert json.loads((folder / "fidelity/fidelity.json").read_text())


def m2m(folder: Path, *words: str, program: str = "m2m", code: int = 0) -> str:
    """Run the installed program; what it said, on stderr where it failed as it should."""
    command = [str(Path(sys.executable).with_name(program)), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == code, (command, done.returncode, done.stdout, done.stderr)
    return done.stderr if code else done.stdout


def write_checkpoint(folder: Path, seed: int) -> np.ndarray:
    """Write one float32 matrix as safetensors, by hand: the header's length, the header, the numbers."""
    values = np.random.default_rng(seed).normal(size=(8, 8)).astype("<f4")
    header = json.dumps({"w": {"dtype": "F32", "shape": [8, 8], "data_offsets": [0, values.nbytes]}}).encode()
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + values.tobytes())
    (folder / "config.json").write_text("{}")
    return values


def read_checkpoint(folder: Path) -> np.ndarray:
    """Read the matrix again."""
    stored = next(folder.glob("*.safetensors")).read_bytes()
    (length,) = struct.unpack_from("<Q", stored)
    return np.frombuffer(stored, "<f4", offset=8 + length).reshape(8, 8)


if __name__ == "__main__":
    main()
