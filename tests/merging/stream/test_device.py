"""The device that sums are computed on: named right or refused before anything is written; the same bits."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest
import torch
from helpers.commands import contents
from helpers.linear_merges import merge_linear

from m2m import _core
from m2m.checkpoint import save
from m2m.errors import ConfigError
from m2m.merging import merge
from m2m.merging.stream.passes import InterruptedMergeError, raise_failure

HAS_GPU = torch.cuda.is_available()


def make_models(folder: Path, elements: int = 1000) -> list[Path]:
    generator = torch.Generator().manual_seed(1)
    states = [{"a": torch.randn(elements, generator=generator), "ids": torch.arange(5)} for _ in range(3)]
    states[1]["a"] = states[1]["a"].bfloat16()
    return [save(state, folder / f"m{i}") for i, state in enumerate(states)]


def merge_on(device: str, models: list[Path], out: Path) -> None:
    merge_linear(
        models,
        [[0.2, 0.3, 0.5], [1.0, 0.0, -1.0]],
        out,
        names=["x", "y"],
        device=device,
    )


def refused(folder: Path, device: str, message: str) -> None:
    models = make_models(folder)
    with pytest.raises(ConfigError, match=message):
        merge_on(device, models, folder / "out")
    assert not any("out" in path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CUDA", "", "cuda:0 "])
def test_an_unknown_device_is_refused(tmp_path: Path, name: str) -> None:
    refused(tmp_path, name, "wanted cpu, cuda, or cuda:1")


@pytest.mark.skipif(not _core.cuda_archs, reason="built without CUDA")
@pytest.mark.parametrize("name", ["cuda:999"] if HAS_GPU else ["cuda", "cuda:999"])
def test_a_device_that_is_not_there_is_refused_in_cudas_words(tmp_path: Path, name: str) -> None:
    refused(tmp_path, name, r"cannot be used: cudaSetDevice: \w+")


def test_a_build_without_cuda_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "cuda_archs", "")
    refused(tmp_path, "cuda", "built without CUDA")


def test_a_method_that_no_device_computes_is_refused(tmp_path: Path) -> None:
    models = make_models(tmp_path)
    recipe = {
        "merge_method": "ties",
        "base_model": str(models[0]),
        "models": [{"model": str(models[2]), "parameters": {"weight": 1}}],
    }
    with pytest.raises(ConfigError, match="ties is computed on the CPU only"):
        merge(recipe, tmp_path / "out", device="cuda")
    assert not any("out" in path.name for path in tmp_path.iterdir())


def test_joining_adapters_needs_no_device(tmp_path: Path) -> None:
    models = make_models(tmp_path)
    recipe = {"merge_method": "linear", "models": [{"model": str(models[0]), "parameters": {"weight": 1}}]}
    with pytest.raises(ConfigError, match="adapters are joined on the CPU"):
        merge(recipe, tmp_path / "out", as_adapter=True, device="cuda")


def test_a_device_that_fails_under_way_leaves_the_work_for_resume() -> None:
    class FailedStream(SimpleNamespace):
        @property
        def failure(self) -> NoReturn:
            raise RuntimeError("cudaMemcpyAsync: unspecified launch failure")

    with pytest.raises(InterruptedMergeError, match="cudaMemcpyAsync: unspecified launch failure; resume"):
        raise_failure(SimpleNamespace(), FailedStream())  # type: ignore[arg-type]


@pytest.mark.gpu
def test_a_gpu_writes_the_bytes_of_the_cpu(tmp_path: Path) -> None:
    models = make_models(tmp_path, elements=3_000_001)
    for device in ("cpu", "cuda"):
        merge_on(device, models, tmp_path / f"out_{device}")
    assert contents(tmp_path / "out_cuda") == contents(tmp_path / "out_cpu")
