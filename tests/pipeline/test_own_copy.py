"""A run's own copy of its configuration, in its folder, means what the original means."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import linear_setup

import m2m
from m2m.errors import ConfigError
from m2m.pipeline import config as configuration


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run, whose set-up is a file beside the configuration, named by a relative path."""
    (home := tmp_path / "home").mkdir()
    factory = Path(linear_setup.__file__)
    (home / "own.py").write_text(factory.read_text(encoding="utf-8"), encoding="utf-8")
    text = linear_setup.run_config().replace(str(factory), "own.py")
    (home / "run.toml").write_text(text, encoding="utf-8")
    return m2m.run(home / "run.toml", tmp_path / "out", workers=1).folder


def test_its_relative_paths_start_where_the_original_s_did(run: Path, tmp_path: Path) -> None:
    copy = configuration.load(run / "config.toml")
    assert copy.root == tmp_path / "home"
    assert copy.reads(tmp_path / "home" / "own.py")
    experts = sorted((run / "experts").glob("*/seed0"))
    report = m2m.score(
        run / "base", experts, setup=copy.path, targets=["target"], out=tmp_path / "scores.csv"
    )
    assert report.candidates == 2 ** len(experts) - 1
    assert m2m.select(tmp_path / "scores.csv").picked == m2m.select(run / "scores.csv").picked


def test_a_base_of_a_run_points_to_its_configuration(run: Path, tmp_path: Path) -> None:
    experts = sorted((run / "experts").glob("*/seed0"))
    with pytest.raises(ConfigError, match=r"it is the base model of a run.*setup.*out/config\.toml"):
        m2m.score(run / "base", experts, tasks=["lm:text.txt"], out=tmp_path / "scores.csv")


def test_what_a_run_noted_is_read_at_a_door(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(linear_setup.run_config(), encoding="utf-8")
    assert configuration.load(tmp_path / "config.toml").root == tmp_path
    (tmp_path / "run.json").write_text('{"root": 5}', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"run.json is not what a run writes there: root is 5, wanted text"):
        _ = configuration.load(tmp_path / "config.toml").root
