"""A package that an extra brings is named with it; merging needs none of them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from m2m.checkpoint import save
from m2m.support.extras import EXTRAS, MissingPackageError, missing_package
from tests.helpers.commands import ROOT
from tests.helpers.linear_merges import linear_recipe

#: How packages are imported that are called otherwise.
IMPORTED = {"scikit-learn": "sklearn"}
#: Runs a program of ours as if packages were not installed.
WITHOUT = """
import sys
from importlib import import_module

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

MISSING = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Missing())
sys.exit(import_module(sys.argv[2]).main(sys.argv[3:]))
"""


def run_without(packages: Sequence[str], program: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT, ",".join(packages), program, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_the_package_s_extras_are_these() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    brought = {
        IMPORTED.get(name := requirement.partition(">=")[0], name): extra
        for extra in ("tables", "train")
        for requirement in project["optional-dependencies"][extra]
        if not requirement.startswith("m2m[")
    }
    assert brought == EXTRAS
    assert not {requirement.partition(">=")[0] for requirement in project["dependencies"]} & set(EXTRAS)


def test_a_package_of_no_extra_is_not_explained() -> None:
    assert missing_package(ModuleNotFoundError("No module named 'nothing'", name="nothing")) is None


@pytest.mark.parametrize(("name", "extra"), [("torch.nn", "train"), ("pandas", "tables")])
def test_a_part_of_a_package_is_that_package(name: str, extra: str) -> None:
    missing = missing_package(ModuleNotFoundError(name=name))
    assert isinstance(missing, MissingPackageError)
    assert f"pip install 'm2m[{extra}]'" in str(missing)


def test_what_merges_needs_numpy_alone(tmp_path: Path) -> None:
    models = [
        save({"w": torch.full((4,), number)}, tmp_path / name) for name, number in (("a", 1.0), ("b", 3.0))
    ]
    recipe = tmp_path / "recipe.yml"
    recipe.write_text(str(linear_recipe(models, [0.5, 0.5])))
    for words in (["check", recipe, tmp_path / "out", "-q"], ["merge", recipe, tmp_path / "out", "-q"]):
        done = run_without(list(EXTRAS), "m2m.cli", *words)
        assert (done.returncode, done.stderr) == (0, "")
    assert "differ" in run_without(list(EXTRAS), "m2m.cli", "diff", tmp_path / "a", tmp_path / "out").stdout


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("m2m.cli", ["score", "--base", "a", "--experts", "b", "--task", "lm:x", "--out", "s.csv"]),
        ("analysis.cli", ["orthogonality", "run", "--out", "o"]),
    ],
)
def test_what_needs_torch_says_the_extra_in_one_line(program: str, words: list[str]) -> None:
    done = run_without(["torch"], program, *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "error: this needs torch, which is not installed: pip install 'm2m[train]'" in done.stderr


def test_tables_are_studied_without_torch(tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    table.write_text("members,merged,trained\na,1,1.1\nb,2,1.8\nc,3,3.2\na+b,4,3.9\na+c,5,5.3\nb+c,6,5.9\n")
    columns = ["--merged", "merged", "--trained", "trained"]
    done = run_without(["torch"], "analysis.cli", "fidelity", table, *columns, "--out", tmp_path / "f", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "f" / "fidelity.json").exists()


def test_a_name_of_the_face_says_the_extra() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import m2m\n"
        "try: m2m.weighted_sum\n"
        "except m2m.errors.ConfigError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert "pip install 'm2m[train]'" in done.stdout, done.stderr
