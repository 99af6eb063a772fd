"""Selecting methods through whole merges: candidates, bad numbers, fusing, budgets, what is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from m2m.checkpoint import Checkpoint, save
from m2m.errors import CheckpointError, ConfigError
from m2m.merging import merge
from m2m.merging.methods import METHODS, Inputs, selection, settings_of
from m2m.merging.methods.selection import digit_bits, guess_keys
from m2m.merging.stream import memory

BIG = 150_000


def make_models(n: int, shape: tuple[int, ...] = (BIG,), dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(n)
    base = torch.randn(shape, generator=generator)
    return [(base + torch.randn(shape, generator=generator) / 32 * (i > 0)).to(dtype) for i in range(n)]


def write(folder: Path, models: list[Tensor]) -> list[Path]:
    return [save({"t": model}, folder / str(i)) for i, model in enumerate(models)]


def recipe_of(name: str, paths: list[Path], each: dict[str, Any], **shared: Any) -> dict[str, Any]:
    models = [{"model": str(path), "parameters": each} for path in paths[1:]]
    return {"merge_method": name, "base_model": str(paths[0]), "models": models, "parameters": shared}


def twin(name: str, models: list[Tensor], **values: Any) -> Tensor:
    method = METHODS[name]
    settings = settings_of(method, len(models) - 1, tensor="t", **values)
    return method.reference(Inputs(models[1:], models[0]), settings, models[0].dtype)


@pytest.mark.parametrize("name", ["ties", "dare_linear", "della"])
def test_candidates_are_what_each_merge_alone_gives(tmp_path: Path, name: str) -> None:
    models = make_models(4, (300, 100))
    recipe = recipe_of(name, write(tmp_path, models), {"weight": 1.0, "density": 0.5})
    rows = {"a": [1.0, 0.0, 0.5], "b": [0.25, 0.5, 0.25], "c": [0.0, 0.0, 2.0]}
    merge(recipe, tmp_path / "out", candidates=rows)
    for candidate, weights in rows.items():
        want = twin(name, models, weight=weights, density=0.5)
        assert torch.equal(Checkpoint(tmp_path / "out" / candidate).read("t"), want)


def test_tensors_of_one_shape_are_trimmed_as_each_is_set(tmp_path: Path) -> None:
    names = [f"model.layers.{layer}.weight" for layer in range(3)]
    models = [{name: model.clone() for name in names} for model in make_models(3, (40, 10))]
    paths = [save(model, tmp_path / str(i)) for i, model in enumerate(models)]
    densities = dict(zip(names, (0.2, 0.5, 0.8), strict=True))
    cases = [{"filter": name, "value": density} for name, density in densities.items()]
    merge(recipe_of("ties", paths, {"weight": 1.0, "density": cases}), tmp_path / "out")
    for name, density in densities.items():
        want = twin("ties", [model[name] for model in models], weight=1.0, density=density)
        assert torch.equal(Checkpoint(tmp_path / "out").read(name), want)


@pytest.mark.parametrize("shape", [(BIG,), (300, 700), (7, 3, 5), (1,), ()])
@pytest.mark.parametrize("slot", [4096, 128 * 1024])
def test_fusing_takes_what_the_twin_takes(
    tmp_path: Path, shape: tuple[int, ...], slot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "SLOT_BYTES", slot)
    models = make_models(2, shape)
    merge(recipe_of("arcee_fusion", write(tmp_path, models), {}), tmp_path / "out")
    got, want = Checkpoint(tmp_path / "out").read("t"), twin("arcee_fusion", models)
    # Exponentials of two libraries differ in their last bits; nothing lies so close to the threshold here.
    assert torch.equal(got, want)
    assert len(shape) < 2 or not torch.equal(got, models[0])


@pytest.mark.parametrize("name", ["ties", "dare_linear", "della", "sce"])
@pytest.mark.parametrize("index", [3, BIG - 2])
def test_a_bad_number_is_named_even_where_it_would_be_dropped(tmp_path: Path, name: str, index: int) -> None:
    models = make_models(3)
    models[2][index] = float("nan")
    paths = write(tmp_path, models)
    each = {} if name == "sce" else {"weight": 1.0, "density": 0.5}
    with pytest.raises(CheckpointError, match=f"{paths[2]}.*'t' is NaN or infinite at index {index}"):
        merge(recipe_of(name, paths, each), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_overflowing_scale_is_an_error(tmp_path: Path) -> None:
    models = [torch.zeros(BIG, dtype=torch.float16), torch.full((BIG,), 60000.0, dtype=torch.float16)]
    recipe = recipe_of("dare_linear", write(tmp_path, models), {"weight": 1.0, "density": 0.5})
    with pytest.raises(CheckpointError, match="too large for F16"):
        merge(recipe, tmp_path / "out")


def test_only_what_matters_is_read(tmp_path: Path) -> None:
    recipe = recipe_of("dare_linear", write(tmp_path, make_models(3)), {"weight": 1.0, "density": 0.5})
    recipe["models"][0]["parameters"] = {"weight": 1.0, "density": 0.0}
    report = merge(recipe, tmp_path / "out")
    assert report.read_bytes == 2 * BIG * 4
    small = write(tmp_path / "small", make_models(3, (1000,)))
    report = merge(recipe_of("ties", small, {"weight": 1.0, "density": 0.5}), tmp_path / "ties")
    assert report.read_bytes == 3 * 1000 * 4  # looked at while it is written


def test_coarse_ties_at_the_threshold_take_two_looks(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    steps = torch.randint(-4, 5, (BIG,), generator=generator).float() / 8
    models = [torch.zeros(BIG).bfloat16(), steps.bfloat16()]
    recipe = recipe_of("ties", write(tmp_path, models), {"weight": 1.0, "density": 0.3})
    report = merge(recipe, tmp_path / "out")
    got = Checkpoint(tmp_path / "out").read("t")
    assert torch.equal(got, twin("ties", models, weight=1.0, density=0.3))
    assert int((got != 0).sum()) == int(0.3 * BIG)
    assert report.read_bytes == (2 + 1) * 2 * BIG * 2


def test_a_row_that_exceeds_the_budget_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    recipe = recipe_of("della", write(tmp_path, make_models(3)), {"weight": 1.0, "density": 0.5})
    with pytest.raises(ConfigError, match="whole rows"):
        merge(recipe, tmp_path / "out", memory="1MiB")
    assert not (tmp_path / "out").exists()


def test_less_memory_means_more_looks_and_the_same_bits(tmp_path: Path) -> None:
    models = make_models(3)
    recipe = recipe_of("ties", write(tmp_path, models), {"weight": 1.0, "density": 0.3})
    large = merge(recipe, tmp_path / "large")
    small = merge(recipe, tmp_path / "small", memory="300KiB")
    assert small.read_bytes > large.read_bytes
    want = twin("ties", models, weight=1.0, density=0.3)
    assert torch.equal(Checkpoint(tmp_path / "large").read("t"), want)
    assert torch.equal(Checkpoint(tmp_path / "small").read("t"), want)


def test_counts_fit_the_memory_they_are_given() -> None:
    assert digit_bits(256 * 2**20, 4) == 16
    assert 8 <= digit_bits(2**20, 4) < 16
    assert digit_bits(0, 1000) == 8
    assert 8 * 2 * 4 * guess_keys(256 * 2**20, 4) <= 128 * 2**20


@pytest.mark.parametrize(("name", "looks"), [("ties", 1), ("breadcrumbs", 1), ("sce", 2)])
def test_a_threshold_takes_a_sample_and_one_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, looks: int
) -> None:
    # Digit by digit, magnitudes would take two looks, variances up to four; sce's other look is for energies.
    monkeypatch.setattr(selection, "_SAMPLED_FROM", 1000)
    paths = write(tmp_path, make_models(3))
    sce = name == "sce"
    each, shared = ({}, {"select_topk": 0.5}) if sce else ({"weight": 1.0, "density": 0.5}, {})
    done = merge(recipe_of(name, paths, each, **shared), tmp_path / "out")
    once = 3 * BIG * 4
    assert (1 + looks) * once < done.read_bytes < (1.2 + looks) * once


def test_the_sign_of_zero_is_that_of_the_divisor(tmp_path: Path) -> None:
    base = torch.full((40,), -0.0)
    models = [base, base.clone(), base.clone()]
    for weight, sign in ((-1.0, True), (1.0, False)):
        recipe = recipe_of("ties", write(tmp_path / str(weight), models), {"weight": weight, "density": 1.0})
        merge(recipe, tmp_path / f"out{weight}")
        # -0 + 0 / (sum of weights), so the sum's sign shows.
        got = Checkpoint(tmp_path / f"out{weight}").read("t")
        assert torch.equal(torch.signbit(got), torch.full((40,), sign))


def test_a_bad_number_that_may_pass_is_not_voted_away(tmp_path: Path) -> None:
    models = make_models(3, (50,))
    models[1][7] = float("nan")
    recipe = recipe_of("ties", write(tmp_path, models), {"weight": 1.0, "density": 1.0})
    merge(recipe, tmp_path / "out", allow_nonfinite=True)
    got, want = Checkpoint(tmp_path / "out").read("t"), twin("ties", models, weight=1.0, density=1.0)
    assert torch.isnan(want).nonzero().tolist() == [[7]]
    assert torch.equal(got.nan_to_num(0), want.nan_to_num(0))
    assert torch.isnan(got).nonzero().tolist() == [[7]]
