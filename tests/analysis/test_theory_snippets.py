"""Every piece of Python in docs/theory.md runs as it stands there, in a folder with a finished run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.linear_setup import run_config

from analysis.fidelity import intervals
from analysis.validate import resampling
from m2m import pipeline
from m2m.pipeline import config

ROOT = Path(__file__).parents[2]
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "theory.md").read_text(encoding="utf-8"), re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("snippets")
    (folder / "tiny.toml").write_text(run_config("validate = true", steps=3, batch=24, learning_rate=2e-2))
    pipeline.run(config.load(folder / "tiny.toml"), folder / "runs" / "quickstart", workers=1)
    return folder


def test_there_is_one_for_every_room() -> None:
    text = "\n".join(SNIPPETS)
    rooms = ("fidelity", "trust", "orthogonality", "curvature", "interaction", "error_bound", "validate")
    assert [room for room in rooms if f"analysis.{room}" not in text] == []


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda text: text.split()[1])
def test_it_runs(
    snippet: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    for module in (resampling, intervals):
        monkeypatch.setattr(module, "RESAMPLES", 99)
    exec(compile(snippet, "docs/theory.md", "exec"), {"__name__": "snippet"})
    assert capsys.readouterr().out.strip()
