"""Small checkpoints and recipes, and what the reference twins make of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from m2m.checkpoint import Checkpoint, save
from m2m.checkpoint.locate import MOMENTS_NAME
from m2m.checkpoint.writer import save_file
from m2m.merging import merge, methods
from m2m.merging.methods import Inputs, settings_of
from m2m.merging.stream import memory, passes

State = dict[str, Tensor]


def make_states(
    shapes: dict[str, tuple[int, ...]], n: int, dtypes: list[torch.dtype], seed: int
) -> list[State]:
    """Make a base model and n experts near it; model i has type i of `dtypes`, in turn."""
    generator = torch.Generator().manual_seed(seed)
    base = {
        name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()
    }
    states = [base] + [
        {
            name: tensor + 0.05 * torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            for name, tensor in base.items()
        }
        for _ in range(n)
    ]
    return [
        {name: tensor.to(dtypes[i % len(dtypes)]) for name, tensor in state.items()}
        | {"ids": torch.arange(70)}
        for i, state in enumerate(states)
    ]


def write_models(states: list[State], folder: Path, shard_size: int | None = None) -> list[str]:
    """Write the base model and the experts; return their folders."""
    return [str(save(state, folder / f"m{i}", shard_size=shard_size)) for i, state in enumerate(states)]


def write_moments(
    states: list[State], paths: list[str], seed: int, frozen: tuple[str, ...] = ()
) -> list[State]:
    """Write second moments beside each expert, of all float tensors but the frozen ones; return them."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for state, path in zip(states[1:], paths[1:], strict=True):
        moments = {
            name: torch.randn(tensor.shape, generator=generator) ** 2 * 1e-6
            for name, tensor in state.items()
            if tensor.is_floating_point() and name not in frozen
        }
        save_file(moments, Path(path) / MOMENTS_NAME)
        found.append(moments)
    return found


def make_recipe(
    method: str,
    paths: list[str],
    *,
    base: bool,
    shared: dict[str, Any],
    each: dict[str, list[Any]],
    **more: Any,
) -> dict[str, Any]:
    """Write a recipe for the experts `paths[1:]` on the base model `paths[0]`."""
    models = [
        {"model": path, "parameters": {name: values[i] for name, values in each.items()}}
        for i, path in enumerate(paths[1:])
    ]
    named = {"base_model": paths[0]} if base else {}
    return {"merge_method": method, "models": models, "parameters": shared, **named, **more}


def assert_is_twin(
    out: Path,
    method: str,
    states: list[State],
    *,
    base: bool,
    shared: dict[str, Any],
    each: dict[str, list[Any]],
    estimates: list[State] | None = None,
) -> None:
    """Assert that a merged model is, bit by bit, what the method's reference twin makes of whole tensors."""
    rule, experts = methods.get(method), states[1:]
    settings = settings_of(rule, len(experts), **shared, **each)
    for name, got in Checkpoint(out).state().items():
        if not got.is_floating_point():
            assert torch.equal(got, states[0][name])
            continue
        origin = states[0][name] if base and rule.base != "ignored" else None
        inputs = Inputs(
            [state[name] for state in experts],
            origin,
            [state[name] for state in estimates if name in state] if estimates else (),
        )
        want = rule.reference(inputs, settings, got.dtype)
        assert torch.equal(bits(got), bits(want)), (method, name)


def bits(tensor: Tensor) -> Tensor:
    """Return a tensor's bytes."""
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def stop_half_way(recipe: Any, out: Path, patch: pytest.MonkeyPatch, **options: Any) -> None:
    """Begin a merge in small windows and slots, which stay, and stop it by Ctrl-C when half is written."""
    patch.setattr(passes, "WINDOW_BYTES", 500_000)
    patch.setattr(memory, "SLOT_BYTES", 4096)
    patch.setattr(passes, "_POLL_SECONDS", 0.001)

    def stop(done: int, total: int, what: str) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(recipe, out, threads=1, progress=stop, **options)
