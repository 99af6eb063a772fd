"""Candidates whose weights do not sum to one: the scores of a merge of task vectors to disk and loading."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from helpers.lora_files import factors, save_adapter
from helpers.tiny_models import write_llama

import m2m
from m2m.cli import main
from m2m.errors import ConfigError, MixtureError
from m2m.scoring.table import ScoreTable

pytest.importorskip("transformers", reason="needs the extra `huggingface`")

#: Rows of a table: task vectors added, one taken away, two off by so little that it counts, and a mixture.
ROWS = [(0.7, 0.6), (1.0, -0.4), (1e-3, 0.0), (0.25, 0.75)]
LABELS = ["a=0.7+b=0.6", "a=1+b=-0.4", "a=0.001", "a=0.25+b=0.75"]
NAMES = ("a", "b")


def write_models(root: Path, base: torch.dtype = torch.float32, experts: torch.dtype = torch.float32) -> Path:
    write_llama(root / "base", dtype=base)
    for seed, name in enumerate(NAMES, start=1):
        write_llama(root / name, seed=seed, noise=0.01, dtype=experts)
    (root / "text.txt").write_text("A text that is longer than one window of sixteen tokens.")
    write_table(root, ROWS)
    return root


def write_table(root: Path, rows: list[tuple[float, float]]) -> None:
    lines = [",".join(NAMES), *(",".join(map(repr, row)) for row in rows)]
    (root / "table.csv").write_text("\n".join(lines) + "\n")


def score(root: Path, out: str, experts: tuple[str, ...] = NAMES, **more: object) -> dict[str, list[float]]:
    (root / out).mkdir(exist_ok=True)
    options = {"tasks": [f"lm:{root / 'text.txt'}"], "context": 16, "mode": "resident"} | more
    paths = {Path(name).name: root / name for name in experts}
    m2m.score(root / "base", paths, out=root / out / "scores.csv", **options)
    with ScoreTable(root / out / "scores.sqlite") as table:
        return {row.candidate: row.examples.tolist() for row in table.rows(metric="loss")}


def merged_then_loaded(root: Path, row: tuple[float, float], **parameters: object) -> list[float]:
    """Score what `m2m merge` writes: a sum of task vectors, or an average where that is one."""
    models = [
        {"model": str(root / name), "parameters": {"weight": weight}}
        for name, weight in zip(NAMES, row, strict=True)
    ]
    method = "linear" if row == (0.25, 0.75) and not parameters else "task_arithmetic"
    recipe = {"merge_method": method, "base_model": str(root / "base"), "models": models}
    out = root / "merged {} {}".format(*row)
    m2m.merge({**recipe, "parameters": {"normalize": False, **parameters}}, out, threads=1)
    [found] = score(root, f"of {out.name}", (out.name,)).values()
    return found


@pytest.mark.parametrize("mode", ["resident", "streamed", "stacked"])
@pytest.mark.parametrize(
    "dtypes",
    [(torch.float32,) * 2, (torch.bfloat16,) * 2, (torch.float32, torch.bfloat16)],
    ids=["f32", "bf16", "mixed"],
)
def test_scores_are_those_of_a_merge_of_task_vectors(
    tmp_path: Path, dtypes: tuple[torch.dtype, torch.dtype], mode: str
) -> None:
    root = write_models(tmp_path, *dtypes)
    got = score(root, "live", candidates=root / "table.csv", mode=mode)
    for row, label in zip(ROWS, LABELS, strict=True):
        wanted = merged_then_loaded(root, row)
        if mode == "stacked":  # its forward passes are other code: docs/evaluation.md
            assert got[label] == pytest.approx(wanted, rel=1e-5)
        else:
            assert got[label] == wanted


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_adapters_are_added_to_the_base_model(tmp_path: Path, dtype: torch.dtype) -> None:
    root = write_models(tmp_path, dtype, dtype)
    query = factors("model.layers.0.self_attn.q_proj", 16, 16, 4, seed=2)
    for name in NAMES:
        (root / name).rename(root / f"whole {name}")
    save_adapter(root / "a", query | factors("model.layers.1.mlp.up_proj", 32, 16, 4, seed=3))
    (root / "whole b").rename(root / "b")
    got = score(root, "live", candidates=root / "table.csv")
    for row, label in zip(ROWS, LABELS, strict=True):
        assert got[label] == merged_then_loaded(root, row), label


def test_weights_are_normalised_and_scaled_as_in_a_merge(tmp_path: Path) -> None:
    root = write_models(tmp_path)
    write_table(root, [(0.7, 0.6), (3.0, -1.0)])
    got = score(root, "live", candidates=root / "table.csv", normalize=True, scale=1.5)
    for row in ((0.7, 0.6), (3.0, -1.0)):
        label = m2m.MergingWeights.of(NAMES, [1.5 * (weight / sum(row)) for weight in row]).label
        assert got[label] == merged_then_loaded(root, row, normalize=True, **{"lambda": 1.5})
    subsets = score(root, "subsets", scale=0.5)
    assert list(subsets) == ["a=0.5", "b=0.5", "a=0.25+b=0.25"]
    assert subsets["a=0.25+b=0.25"] == merged_then_loaded(root, (0.5, 0.5), **{"lambda": 0.5})


def test_what_was_scored_as_a_mixture_is_not_scored_again(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = write_models(tmp_path)
    monkeypatch.chdir(root)
    write_table(root, [(0.25, 0.75), (0.5, 0.5), (1.0, 0.5)])
    ours = ["score", "--base", "base", "--experts", "a", "b", "--task", "lm:text.txt", "--context", "16"]
    assert main([*ours, "--out", "scores.csv", "--json"]) == 0
    before = Path("scores.csv").read_text()
    capsys.readouterr()
    assert main([*ours, "--out", "scores.csv", "--candidates", "table.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scored_now"] == 2, "a=0.25+b=0.75 and a=1+b=0.5"
    assert "1 of 3 candidates do not sum to one: the base model has the rest" in caplog.text
    assert set(before.splitlines()) < set(Path("scores.csv").read_text().splitlines())
    assert (
        main([*ours, "--out", "race.csv", "--candidates", "table.csv", "--race", "--budget", "1.0", "--json"])
        == 0
    )
    assert set(json.loads(capsys.readouterr().out)["weights"]) == {"a", "b"}
    assert main(["select", "scores.csv", "-q"]) == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"normalize": True}, MixtureError, r"candidate a=1\+b=-1: weights \[1.0, -1.0\] sum to 0, so they"),
        ({"scale": 0.0}, ConfigError, "^scale must be a finite number, and not 0, which is the base model"),
        ({"scale": -math.inf}, ConfigError, "^scale must be"),
        ({"scale": 1e308}, MixtureError, "merging weights and their sum must be finite"),
        ({"candidates": [(0.5, 0.5)]}, ConfigError, "candidates"),
    ],
)
def test_weights_that_make_no_model_are_refused(
    tmp_path: Path, options: dict[str, object], error: type[Exception], message: str
) -> None:
    root = write_models(tmp_path)
    write_table(root, [(1.0, -1.0), (30.0, 2.0)])
    with pytest.raises(error, match=message):
        score(root, "live", **{"candidates": root / "table.csv", **options})
    assert not [*(root / "live").iterdir()]
