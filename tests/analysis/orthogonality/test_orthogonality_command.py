"""`m2m-analysis orthogonality` on checkpoints, adapters and a run folder."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.linear_setup import run_config
from helpers.lora_files import factors, save_adapter
from helpers.missing_numbers import unexplained

from analysis.cli import main
from analysis.orthogonality import orthogonality, study
from m2m import pipeline
from m2m.checkpoint import save
from m2m.errors import CheckpointError
from m2m.pipeline import config

ALWAYS = {"orthogonality.json", "orthogonality.csv", "orthogonality_experts.csv"}
FIGURE = {"orthogonality_cosines.png", "orthogonality_cosines.svg"}


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    generator = torch.Generator().manual_seed(2)
    base = {f"layers.{n}.w": torch.randn(12, 10, generator=generator) for n in range(2)}
    save(base, tmp_path / "base")
    paths = {"base": tmp_path / "base"}
    moves = {
        name: {key: 0.05 * torch.randn(12, 10, generator=generator) for key in base}
        for name in ("red", "blue")
    }
    for name in moves:
        save({key: value + moves[name][key] for key, value in base.items()}, tmp_path / name)
        shared = {key: (moves["red"][key] + moves["blue"][key]) / 2 for key in base}
        save(
            {key: value + 0.5 * moves[name][key] + 0.5 * shared[key] for key, value in base.items()},
            tmp_path / f"anchored-{name}",
        )
        paths |= {name: tmp_path / name, f"anchored-{name}": tmp_path / f"anchored-{name}"}
    return paths


def call(out: Path, *options: object) -> dict[str, Any]:
    assert main(["orthogonality", "--out", str(out), *map(str, options)]) == 0
    assert unexplained(out) == []
    content: dict[str, Any] = json.loads((out / "orthogonality.json").read_text())
    return content


def test_checkpoints(models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    experts = [models["red"], models["blue"]]
    options = [
        "--subspaces",
        2,
        "--share",
        0.5,
        "--anchored",
        models["anchored-red"],
        models["anchored-blue"],
    ]
    content = call(out, "--base", models["base"], "--experts", *experts, *options)
    assert {path.name for path in out.iterdir()} == ALWAYS | FIGURE | {"orthogonality_subspaces.csv"}
    assert content["experts"] == ["red", "blue"]
    assert set(content["source"]) == {"config", "seed", "versions"}
    assert content["elements"] == 240
    assert content["cosine"][0][1] == content["cosine"][1][0]
    assert content["subspaces"]["output"]["matrices"] == 2
    anchors = content["anchors"]
    assert anchors["anchored"][0][1] == pytest.approx(anchors["predicted"][0][1], abs=1e-5)
    assert anchors["removed"][0][1] == pytest.approx(content["cosine"][0][1], abs=1e-5)
    assert anchors["anchored"][0][1] > anchors["plain"][0][1]
    with (out / "orthogonality.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["group"] for row in rows] == [
        "whole",
        "layers.0",
        "layers.1",
        "w",
        "layers.0.w",
        "layers.1.w",
    ]
    assert float(rows[0]["cosine"]) == content["cosine"][0][1]
    printed = capsys.readouterr().out
    assert "cosines of 2 task vectors, 240 elements:" in printed
    assert "effective dimension" in printed


def test_the_same_bytes_again(models: dict[str, Path], tmp_path: Path) -> None:
    for name in ("first", "again"):
        call(tmp_path / name, "--base", models["base"], "--experts", models["red"], models["blue"], "--json")
    for name in ALWAYS | FIGURE:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_single_expert(models: dict[str, Path], tmp_path: Path) -> None:
    content = call(tmp_path / "out", "--base", models["base"], "--experts", models["red"])
    assert content["cosine"] == [[1.0]]


def test_adapters_are_compared_by_their_factors(tmp_path: Path) -> None:
    base = {"q.weight": torch.zeros(12, 10), "v.weight": torch.zeros(8, 10)}
    save(base, tmp_path / "base")
    dense = []
    for seed, name in enumerate(("a", "b")):
        tensors = factors("q", 12, 10, 4, seed) | factors("v", 8, 10, 4, seed + 10)
        save_adapter(tmp_path / name, tensors)
        dense.append(tmp_path / f"dense-{name}")
        save({f"{m}.weight": 2 * tensors[f"{m}.B"] @ tensors[f"{m}.A"] for m in "qv"}, dense[-1])
    study = orthogonality(tmp_path / "base", [tmp_path / "a", tmp_path / "b"])
    whole = orthogonality(tmp_path / "base", dense)
    np.testing.assert_allclose(study.whole.gram, whole.whole.gram, rtol=1e-5, atol=1e-6)
    assert study.whole.elements == whole.whole.elements == 200
    assert (study.corrected, study.chance.spread) == (None, None)
    content = call(tmp_path / "out", "--base", tmp_path / "base", "--experts", tmp_path / "a", tmp_path / "b")
    assert content["norm_ratio"] is None


def test_a_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.toml").write_text(run_config(steps=4, batch=24, learning_rate=2e-3))
    run = pipeline.run(config.load(tmp_path / "run.toml"), tmp_path / "run", workers=1).root
    content = call(tmp_path / "out", run)
    assert content["experts"] == ["a", "b", "c"]
    assert set(content["source"]) == {"run", "config", "training_seed", "seed", "versions"}

    [weights] = (run / "experts" / "b").rglob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    assert main(["orthogonality", str(run), "--out", str(tmp_path / "again")]) == 2
    assert "has changed: its SHA-256 differs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "name a run folder, or --base and --experts"),
        (["--base", "{base}"], "name a run folder, or --base and --experts"),
        (["{base}", "--base", "{base}"], "a run folder names its own models"),
        (["{base}"], "is not a finished run folder"),
        (["--base", "{base}", "--experts", "{red}", "{red}"], "as many different names"),
        (["--base", "{base}", "--experts", "{red}", "--share", "0.5"], "give both or neither"),
        (
            ["--base", "{base}", "--experts", "{red}", "{blue}", "--share", "0.5", "--anchored", "{red}"],
            "1 anchored experts for 2 plain ones",
        ),
        (
            ["--base", "{base}", "--experts", "{red}", "--share", "2", "--anchored", "{red}"],
            "above 0 and at most 1, got 2.0",
        ),
    ],
)
def test_bad_options(
    models: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    filled = [option.format(**models) for option in options]
    assert main(["orthogonality", *filled, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_adapters_and_models_do_not_mix(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = save_adapter(tmp_path / "adapter", factors("layers.0", 12, 10, 4, 1))
    options = ["--base", models["base"], "--experts", models["red"], adapter, "--out", tmp_path / "out"]
    assert main(["orthogonality", *map(str, options)]) == 2
    assert "is an adapter, the others are whole checkpoints" in capsys.readouterr().err


@pytest.mark.parametrize("step", ["subspace_angles", "suspicions"])
def test_experts_that_change_while_they_are_measured_are_named(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    original = getattr(study, step)

    def changing(*args: Any, **options: Any) -> Any:
        found = original(*args, **options)
        file = models["red"] / "model.safetensors"
        os.utime(file, ns=(1, 1))
        return found

    monkeypatch.setattr(study, step, changing)
    with pytest.raises(CheckpointError, match=r"red/model\.safetensors: changed while it was used"):
        orthogonality(models["base"], [models["red"], models["blue"]], rank=2)


def test_adapters_that_change_while_they_are_measured_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save({"q.weight": torch.randn(8, 6)}, tmp_path / "base")
    adapters = [save_adapter(tmp_path / f"a{n}", factors("q", 8, 6, 4, n)) for n in range(2)]
    gram = study.lora_gram

    def changing(opened: Any) -> Any:
        found = gram(opened)
        os.utime(adapters[1] / "adapter_model.safetensors", ns=(1, 1))
        return found

    monkeypatch.setattr(study, "lora_gram", changing)
    with pytest.raises(CheckpointError, match=r"a1/adapter_model\.safetensors: changed while it was used"):
        orthogonality(tmp_path / "base", adapters)
