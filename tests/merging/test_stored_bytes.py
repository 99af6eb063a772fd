"""The bytes of small merges, by every method, are those that are written down here.

Inputs are integers times powers of two, made without a random library. The engine sums in the order of its
contract, in IEEE arithmetic, without BLAS; slerp, nuslerp, karcher and arcee_fusion also take sines or
exponentials from the C library, whose last bits may differ elsewhere (bfloat16 hides all but a near tie).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.lora_files import save_adapter
from torch import Tensor

from m2m.checkpoint import Checkpoint, save
from m2m.merging import merge
from m2m.merging.methods import METHODS

SHAPES = {"h.0.w": (16, 40), "h.0.b": (40,), "h.1.w": (9, 7, 3), "h.1.b": (1,), "none": (0, 4), "scalar": ()}
DTYPES = (torch.bfloat16, torch.float32, torch.float16)
W = {"weight": [0.25, 0.75, -0.5]}
P = {"weight": [0.25, 0.75, 0.5]}
D = {**P, "density": [0.4, 0.6, 0.0]}
TWO = {"weight": [0.4, 0.7]}

#: First half of the SHA-256 of the tensors, by case.
STORED: dict[str, str] = {
    "linear": "65a188568e4b7d8f4d3e29829fdfc8ab",
    "linear as it is": "a7318f34dd4dcdeb6f4efce9d851a436",
    "task_arithmetic": "09596019382a0245d9eebc29931b6bfb",
    "passthrough": "12f703525562213e9ae69c840d59c90e",
    "scheffe": "ae7de2a68ea9a9c7bd20be86032f7b35",
    "anchored": "5c4c5cad0292972a57a946b1f9d3aa6e",
    "slerp": "676d992d122db9425cdd7acd1afa65da",
    "slerp mergekit": "3ab4a0c37216f0617589d8ee195317c2",
    "nuslerp": "7c4cb78c4f0aba8e250516edb5c3a27c",
    "nuslerp rows": "0c9935e018414064e43b17aee7be305b",
    "nuslerp columns": "d7339bfa551391eef4d572b6d1685205",
    "multislerp": "9769b97f255e16b6fd9b86b6fbfda20a",
    "multislerp no base": "32dd336164872c2dbc928243aa6ea427",
    "karcher": "067f5f4b3e0b55fc7beec39367edbb51",
    "model_stock": "3234027ed8399c2b55d0b808e8294831",
    "model_stock rows": "0010527765b7c6728494c13a52116c56",
    "ties": "5afc95e0839787b367b1064e1de96820",
    "ties mergekit": "20d4a46ec20fd9c53e2f50486ebee938",
    "dare_linear": "c478a0ac51b77e72ca4aa9c010a54c4e",
    "dare_ties": "aef0003056849956c4d195d9f773d899",
    "breadcrumbs": "af3e9f479f09f992e1f6fbc62cd1d37c",
    "breadcrumbs_ties": "f738c8aa334be6d7d6bf65319852da88",
    "della": "491b3275324778c590fe1ed04953ed27",
    "della_linear": "a7e1bf1897346bfd3eb45e6e9a71c036",
    "sce": "0983cf9bd24d9efb57beeaa3e2a2bcba",
    "sce all": "4bfe005cf2a585017f5545da8e942bfe",
    "ram": "3eb222e05fddedd28d5be1b452ade803",
    "ramplus_tl": "e68d89d1e11cc05077545c5c43b563cf",
    "consensus": "4f9d562853c8eb5540dbf0b5e380e3bf",
    "emr_unified": "990575f8bf944c06bfb76d65dd848ac2",
    "nearswap": "1d99d68e801a1d4f986345e5b33c5820",
    "arcee_fusion": "1fc754c9c54d47e64964762094f10b26",
    "fisher": "548fe3e747499c1c3645ae7e73a6fef2",
    "adam_merge": "ef5efd9b635ee4e6883e0f434f42df27",
    "linear a": "090d34abb8c7a21d4b5ace6986d4bec7",
    "linear b": "7f41bcec3382a4260b0afe786a3fb7e1",
    "ties a": "9c6a88e25a6f1160560ea43203dfddfb",
    "ties b": "85afa11825c123d79f82ffe464bf83c8",
    "model_stock slices": "90a5442cc46509265e4140f5d1bc4d6f",
    "task_arithmetic adapters": "afd1d1d503798198b530de64eb5f4b24",
    "linear adapters": "57351249f1ce3d77d56b4cd488a224ab",
    "ties adapters": "8d45f751a55142b020c20d8dce3e4a83",
    "as adapter": "55d164e6ec65567c896864ff51af564e",
}
#: Name, method, shared parameters, parameters of each expert, the rest of the recipe.
CASES: list[tuple[str, str, dict[str, Any], dict[str, list[Any]], dict[str, Any]]] = [
    ("linear", "linear", {}, P, {}),
    ("linear as it is", "linear", {"normalize": False}, W, {"dtype": "float32"}),
    ("task_arithmetic", "task_arithmetic", {"lambda": 0.7}, W, {}),
    ("passthrough", "passthrough", {}, {"scale": [0.3]}, {}),
    ("scheffe", "scheffe", {}, {"datasets": ["a", "b", "a+b"], "weight": [0.25, 0.75, None]}, {}),
    ("anchored", "anchored", {"anchor": 0.5}, {"weight": [0.25, 0.25, 0.5], "shared": [0.25, 0.25, 0.5]}, {}),
    ("slerp", "slerp", {"t": 0.3}, {"weight": []}, {}),
    ("slerp mergekit", "slerp", {"t": [0.1, 0.9]}, {"weight": []}, {"m2m": {"definition": "mergekit"}}),
    ("nuslerp", "nuslerp", {}, TWO, {}),
    ("nuslerp rows", "nuslerp", {"nuslerp_flatten": False}, TWO, {}),
    (
        "nuslerp columns",
        "nuslerp",
        {"nuslerp_flatten": False, "nuslerp_row_wise": True},
        TWO,
        {"base": False},
    ),
    ("multislerp", "multislerp", {}, {"weight": [0.25, 0.75, 0.6]}, {}),
    ("multislerp no base", "multislerp", {"normalize_weights": False}, P, {"base": False}),
    ("karcher", "karcher", {}, {"weight": [None] * 3}, {}),
    ("model_stock", "model_stock", {}, {"weight": [None] * 3}, {}),
    ("model_stock rows", "model_stock", {"filter_wise": True}, {"weight": [None] * 3}, {}),
    ("ties", "ties", {}, D, {}),
    ("ties mergekit", "ties", {"rescale": True}, D, {"m2m": {"definition": "mergekit"}}),
    ("dare_linear", "dare_linear", {}, D, {"m2m": {"seed": 7}}),
    ("dare_ties", "dare_ties", {"lambda": 0.9}, D, {"m2m": {"definition": "mergekit", "seed": 1}}),
    ("breadcrumbs", "breadcrumbs", {"gamma": 0.1}, D, {}),
    ("breadcrumbs_ties", "breadcrumbs_ties", {"gamma": 0.1, "normalize": True}, D, {"dtype": "float32"}),
    ("della", "della", {"epsilon": 0.2}, {**P, "density": [0.4, 0.6, 0.5]}, {}),
    (
        "della_linear",
        "della_linear",
        {},
        {**P, "density": [0.4, 0.6, 0.5]},
        {"m2m": {"definition": "mergekit"}},
    ),
    ("sce", "sce", {"select_topk": 0.3}, {"weight": [None] * 3}, {}),
    ("sce all", "sce", {}, {"weight": [None] * 3}, {"m2m": {"definition": "mergekit"}}),
    ("ram", "ram", {"epsilon": 0.02}, {"weight": [None] * 3}, {}),
    ("ramplus_tl", "ramplus_tl", {"epsilon": 0.04, "alpha": 2}, {"weight": [None] * 3}, {}),
    ("consensus", "consensus", {"lambda": 0.7}, {"tall_lambda": [0.25, 0.5, 1.0]}, {}),
    ("emr_unified", "emr_unified", {"lambda": 0.3}, {"weight": [None] * 3}, {}),
    ("nearswap", "nearswap", {"t": 0.03}, {"weight": [None]}, {}),
    ("arcee_fusion", "arcee_fusion", {}, {"weight": [None]}, {}),
    ("fisher", "fisher", {"floor": 0.001}, P, {}),
    ("adam_merge", "adam_merge", {"eps": 0.001}, P, {}),
]
#: Methods that read a file beside each expert, by the parameter that names it.
BESIDE = {"fisher": "fisher", "adam_merge": "moments"}


def numbers(seed: int, count: int) -> Tensor:
    """Draw integers in [-2¹⁵, 2¹⁵) with Knuth's 64-bit generator (MMIX), as float64."""
    state, drawn = seed, []
    for _ in range(count):
        state = (6364136223846793005 * state + 1442695040888963407) % 2**64
        drawn.append((state >> 48) - 2**15)
    return torch.tensor(drawn, dtype=torch.float64)


def states(experts: int) -> list[dict[str, Tensor]]:
    """A base model and experts near it, of mixed types; elements repeat, so that magnitudes tie."""
    found = []
    for model in range(experts + 1):
        state = {}
        for at, (name, shape) in enumerate(SHAPES.items()):
            count = int(torch.Size(shape).numel())
            values = numbers(at + 1, count) * 2.0**-15
            if model:
                values = values + numbers(100 * model + at, count) * 2.0**-19
            state[name] = values.reshape(shape).to(DTYPES[model % len(DTYPES)])
        found.append(state | {"ids": torch.arange(70)})
    return found


def tensors_hash(folder: Path) -> str:
    """Half of the SHA-256 of names, types, shapes and bytes; the headers also hold the recipe."""
    digest = hashlib.sha256()
    for name, tensor in sorted(Checkpoint(folder).state().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def write(folder: Path, experts: int) -> list[str]:
    return [str(save(state, folder / f"m{i}", shard_size=1500)) for i, state in enumerate(states(experts))]


def recipe_of(
    method: str, paths: list[str], shared: dict[str, Any], each: dict[str, list[Any]], more: dict[str, Any]
) -> dict[str, Any]:
    rest = dict(more)
    base = {"base_model": paths[0]} if rest.pop("base", True) else {}
    models = [
        {
            "model": path,
            "parameters": {name: row[n] for name, row in each.items() if row and row[n] is not None},
        }
        for n, path in enumerate(paths[1:])
    ]
    return {"merge_method": method, "models": models, "parameters": shared, **base, **rest}


def test_every_method_is_stored() -> None:
    assert {method for _, method, *_ in CASES} == set(METHODS)


@pytest.mark.parametrize(("name", "method", "shared", "each", "more"), CASES, ids=[c[0] for c in CASES])
def test_bytes_of_every_method(
    tmp_path: Path,
    name: str,
    method: str,
    shared: dict[str, Any],
    each: dict[str, list[Any]],
    more: dict[str, Any],
) -> None:
    experts = max((len(row) for row in each.values()), default=1) or 1
    paths = write(tmp_path, experts)
    if method in BESIDE:
        estimates = [{n: t.abs() for n, t in state.items() if n != "ids"} for state in states(experts)[1:]]
        files = [str(save(state, tmp_path / f"f{n}")) for n, state in enumerate(estimates)]
        each = {**each, BESIDE[method]: files}
    merge(recipe_of(method, paths, shared, each, more), tmp_path / "out", threads=2)
    assert tensors_hash(tmp_path / "out") == STORED[name]


CANDIDATES = {"a": [0.5, 0.5, 0.25], "b": [1.0, -0.25, 0.125]}


@pytest.mark.parametrize("method", ["linear", "ties"])
def test_bytes_of_candidates(tmp_path: Path, method: str) -> None:
    paths = write(tmp_path, 3)
    shared = {"normalize": False}
    candidates = CANDIDATES if method == "linear" else {**CANDIDATES, "b": [1.0, 0.25, 0.125]}
    merge(recipe_of(method, paths, shared, P, {}), tmp_path / "out", candidates=candidates, statistics=True)
    for name in candidates:
        assert tensors_hash(tmp_path / "out" / name) == STORED[f"{method} {name}"]


def test_bytes_of_slices(tmp_path: Path) -> None:
    folders = []
    for model in range(3):
        state = {f"h.{i}.w": numbers(10 * model + i, 60).reshape(6, 10) * 2.0**-14 for i in range(3)}
        state |= {
            "wte.w": numbers(10 * model + 8, 20) * 2.0**-14,
            "head.w": numbers(10 * model + 9, 20) * 2.0**-14,
        }
        folders.append(str(save({n: t.float() for n, t in state.items()}, tmp_path / f"m{model}")))
    ranges = [[[0, 2], [1, 3]], [[1, 3], [0, 2]]]
    slices = [
        {"sources": [{"model": m, "layer_range": r} for m, r in zip(folders[1:], part, strict=True)]}
        for part in ranges
    ]
    for part in slices:
        part["sources"].append({"model": folders[0], "layer_range": [0, 2]})
    recipe = {"merge_method": "model_stock", "base_model": folders[0], "slices": slices}
    merge(recipe, tmp_path / "out")
    assert tensors_hash(tmp_path / "out") == STORED["model_stock slices"]


def adapters(folder: Path) -> list[str]:
    base = {"q.weight": numbers(1, 60).reshape(6, 10) * 2.0**-14, "q.bias": numbers(2, 6) * 2.0**-14}
    found = [str(save({name: tensor.bfloat16() for name, tensor in base.items()}, folder / "base"))]
    for n, rank in enumerate((2, 3)):
        parts = {
            "q.A": numbers(20 + n, rank * 10).reshape(rank, 10).float() * 2.0**-16,
            "q.B": numbers(30 + n, rank * 6).reshape(6, rank).float() * 2.0**-16,
        }
        path = save_adapter(
            folder / f"lora{n}", parts, r=rank, lora_alpha=8, base_model_name_or_path=found[0]
        )
        found.append(str(path))
    return found


@pytest.mark.parametrize("method", ["task_arithmetic", "linear", "ties"])
def test_bytes_of_adapters(tmp_path: Path, method: str) -> None:
    each = {"weight": [0.75, 0.5]} | ({"density": [0.5, 0.5]} if method == "ties" else {})
    merge(recipe_of(method, adapters(tmp_path), {}, each, {}), tmp_path / "out")
    assert tensors_hash(tmp_path / "out") == STORED[f"{method} adapters"]


def test_bytes_of_one_adapter(tmp_path: Path) -> None:
    recipe = recipe_of("task_arithmetic", adapters(tmp_path), {}, {"weight": [0.75, 0.5]}, {})
    merge(recipe, tmp_path / "out", as_adapter=True)
    digest = tensors_hash(tmp_path / "out" / "adapter_model.safetensors")
    assert digest == STORED["as adapter"]
