"""`m2m mix` on linear regression: told to people and to programs, exported, and one line for wrong input."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from helpers.linear_setup import run_config

from m2m.cli import main

CONFIG = (
    run_config()
    + """
[mix]
regressor = "scheffe"
seeds = 14
points = 128
top_k = 5
bootstrap = 2
"""
)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "run.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return str(path)


def test_shares_are_told_drawn_and_exported(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, blend = tmp_path / "out", tmp_path / "blend.txt"
    command = ["mix", config, "--out", str(out), "--workers", "1"]
    assert main([*command, "--to", f"megatron={blend}", "--path", "a=/data/a"]) == 0
    text, err = capsys.readouterr()
    assert "merged starting mixtures" in err
    assert text.startswith("λ*, the shares to train on (")
    assert "surfaces and their cross-validated Spearman: target scheffe " in text
    assert "better than that of equal shares in" in text
    assert re.search(r"\n  base model( +\d+\.\d{4})+\n", text)
    for name in ("mix.json", "mix.png", "mix.svg", "candidates.csv", "mixture.json"):
        assert (out / "mix" / name).stat().st_size, name

    assert main([*command, "--json", "-q"]) == 0
    told, err = capsys.readouterr()
    found = json.loads(told)
    assert err == ""
    assert "/data/a" in blend.read_text(encoding="utf-8") or found["weights"]["a"] == 0
    assert sum(found["weights"].values()) == pytest.approx(1)
    assert (
        main(["export", str(out / "mix" / "mixture.json"), "--to", "csv", "--out", str(tmp_path / "c.csv")])
        == 0
    )


def test_both_are_trained_where_that_is_asked_for(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["mix", config, "--out", str(tmp_path / "out"), "--workers", "1", "--train"]
    assert main([*command, "-q", "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)["trained"]
    assert {split for by in trained.values() for split in by["target"]} == {"validation", "test"}
    assert main(command) == 0
    text = capsys.readouterr().out
    for split in ("validation", "test"):
        cells = [f"{trained[who]['target'][split]:.4f}" for who in ("chosen", "equal")]
        assert f"target, {split}" in text
        assert all(cell in text for cell in cells)


def test_with_pairs_it_says_what_they_add(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(config).write_text(CONFIG + "pairs = true\n", encoding="utf-8")
    assert main(["mix", config, "--out", str(tmp_path / "out"), "--workers", "1"]) == 0
    text, err = capsys.readouterr()
    assert "trained pairs" in err
    assert "its corrected score is better than that of equal shares in" in text
    assert "all scores are corrected by trained pairs; they add to λ*'s merged score: target " in text


@pytest.mark.parametrize(
    ("change", "more", "said"),
    [
        (("seeds = 14", "seeds = 6"), [], "scheffe needs at least 8 scored mixtures"),
        (("[mix]", "[mix]\ncaps = {a = 0.1, b = 0.1, c = 0.1}"), [], "upper bounds sum to 0.3"),
        (("[mix]", "[mix]\ncapabilities = {tagret = 1}"), [], "did you mean 'target'?"),
        (("seeds = 14", "seeds = 14.5"), [], "seeds must be a whole number"),
        (("[mix]", "[[mix]]"), [], "[mix] must be a table"),
        (("[mix]", "[mix]\npairs = 1"), [], "pairs must be true or false, got 1"),
        (("seeds", "seeds"), ["--to", "megatorn=b.txt"], "no format 'megatorn' (did you mean 'megatron'?)"),
        (("seeds", "seeds"), ["--to", "megatron"], "--to wants NAME=VALUE"),
        (("seeds", "seeds"), ["--to", "megatron=no/where"], "there is no folder no"),
    ],
)
def test_wrong_input_is_one_line_and_makes_no_folder(
    change: tuple[str, str],
    more: list[str],
    said: str,
    config: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path(config).write_text(CONFIG.replace(*change), encoding="utf-8")
    assert main(["mix", config, "--out", str(tmp_path / "out"), *more]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
