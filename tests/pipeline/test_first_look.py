"""A slip in a configuration is said before torch is imported, and before there is a run folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLAIN = """
[run]
target = "goal"
[train]
steps = 2
batch = 4
learning_rate = 0.01
[setup]
kind = "language"
model = "llama"
[setup.base]
context = 64
[setup.datasets.law]
files = "law.jsonl"
[setup.datasets.code]
files = "code.jsonl"
[setup.targets.goal]
files = "goal.jsonl"
"""
GOAL = 'files = "goal.jsonl"'
#: Slip: what becomes of the configuration, and what is said.
SLIPS = {
    "one dataset": ('[setup.datasets.code]\nfiles = "code.jsonl"\n', "", "got 1 datasets"),
    "no file": ('"law.jsonl"', '"lwa.jsonl"', "[setup.datasets.law]: no file matches 'lwa.jsonl'"),
    "no file of a target": ('"goal.jsonl"', '"gaol.jsonl"', "no file matches 'gaol.jsonl'"),
    "target": ('target = "goal"', 'target = "gaol"', "no target 'gaol' (did you mean 'goal'?)"),
    "column": ('files = "law.jsonl"', 'files = "law.jsonl"\nfield = "txt"', "there is no column 'txt'"),
    "key": ('files = "law.jsonl"', 'fiels = "law.jsonl"', "unknown key 'fiels'"),
    "limit": ('files = "law.jsonl"', 'files = "law.jsonl"\nlimit = 0', "`limit`"),
    "package": ('files = "law.jsonl"', 'files = "*"\npackage = "djnago"', "no pinned package 'djnago'"),
    "trainer": ("[train]", '[train]\ncommand = ["acelerate"]', "there is no program 'acelerate'"),
    "script": ("[train]", '[train]\ncommand = ["{python}", "trian.py"]', "trian.py"),
    "expert": ("[train]", '[train]\nexperts = { law = "x", code = "y" }', "the expert of law is no model"),
    "experts": ("[train]", '[train]\nexperts = { lwa = "x" }', "must name an expert of every dataset"),
    "model": ('model = "llama"', 'model = "lama"', "lama has no config.json"),
    "template": ('model = "llama"', 'model = "bare"', "its tokenizer has no chat template"),
    "template file": ("context = 64", 'chat_template = "no.jinja"', "no.jinja: No such file"),
    "kind": ('kind = "language"', 'kind = "langage"', "did you mean 'language'?"),
    "factory": ('kind = "language"', 'kind = "python"\nfactory = "no.py:f"', "there is no file"),
    "budget": ("[run]", "[run]\nbudget = 2", "`budget` must be above the 2 datasets"),
    "items": (GOAL, 'task = "exact_match"\nfile = "nope.jsonl"', "nope.jsonl: No such file"),
    "judge": (
        GOAL, 'task = "generate"\nfile = "goal.jsonl"\njudge = "no.py:f"', "the judge: there is no file"
    ),
    "function": (GOAL, 'task = "no.py:score"', "the task: there is no file"),
}  # fmt: skip
SCRIPT = """
import json, sys
import m2m
said = {}
for name in json.loads(sys.argv[1]):
    for verb in (m2m.run, m2m.dry_run):
        try:
            verb(f"{name}.toml", "out")
        except m2m.errors.InputError as error:
            said.setdefault(name, []).append(str(error))
loaded = [name for name in ("torch", "transformers", "pandas") if name in sys.modules]
print(json.dumps({"said": said, "loaded": loaded}))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("slips")
    for name in ("law", "code", "goal"):
        turns = [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": f"It is {name}."}]
        (place / f"{name}.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    for name in ("llama", "bare"):
        (place / name).mkdir()
        (place / name / "config.json").write_text("{}")
    (place / "llama" / "chat_template.jinja").write_text("{{ messages }}")
    for name, (old, new, _) in SLIPS.items():
        assert old in PLAIN
        (place / f"{name}.toml").write_text(PLAIN.replace(old, new, 1))
    return place


@pytest.fixture(scope="module")
def found(place: Path) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(list(SLIPS))],
        cwd=place, env={"PYTHONPATH": str(ROOT), "M2M_CACHE": str(place / "cache")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_said_by_a_run_and_by_a_dry_run(slip: str, found: dict[str, dict[str, list[str]]]) -> None:
    by_run, by_dry_run = found["said"][slip]
    assert SLIPS[slip][2] in by_run
    assert by_dry_run == by_run
    assert by_run.count("\n") == 0
    assert f"{slip}.toml" in by_run


def test_nothing_is_loaded_or_left_for_it(place: Path, found: dict[str, object]) -> None:
    assert found["loaded"] == []
    assert not (place / "out").exists()
    assert not (place / "cache").exists()
