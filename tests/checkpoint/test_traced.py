"""Traced tensors: whatever moves elements is followed, and says where each of them was stored."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from m2m.checkpoint.layout import Layout, Part
from m2m.checkpoint.traced import TracedTensor, unfollowed
from m2m.errors import CheckpointError

STORED = {"a": (4, 6), "b": (4, 6), "c": (2, 6, 4)}
NUMBERS = {
    name: torch.arange(math.prod(shape)).view(shape) + 1000 * k
    for k, (name, shape) in enumerate(STORED.items())
}
Moves = Callable[[dict[str, Tensor]], Tensor]


def refilled(moves: Moves) -> Tensor:
    """Follow the moves without numbers, then put the stored numbers where they say."""
    traced = {name: TracedTensor.stored(name, shape, torch.int64) for name, shape in STORED.items()}
    result = moves(dict(traced))
    assert isinstance(result, TracedTensor)
    out = torch.full(tuple(result.shape), -1)
    for part in result.parts("x"):
        part.within(out).copy_(part.of(NUMBERS[part.stored]))
    return out


WAYS: dict[str, Moves] = {
    "as experts are joined": lambda s: torch.cat([torch.stack([s[x], s[y]]) for x, y in ("ab", "ba")], 1),
    "chunk": lambda s: torch.chunk(s["c"], 3, dim=1)[1].contiguous(),
    "uneven split": lambda s: torch.split(s["c"], [1, 5], dim=1)[1],
    "transpose": lambda s: s["c"].transpose(1, 2).contiguous(),
    "interleave": lambda s: s["c"].reshape(2, 3, 2, 4).transpose(1, 2).reshape(2, 6, 4),
    "permute for rotary positions": lambda s: s["a"].view(2, 1, 2, 6).transpose(1, 2).reshape(4, 6),
    "one of many": lambda s: s["c"][1].squeeze(0)[2:4].unsqueeze(1),
    "one expert of one": lambda s: torch.chunk(s["c"], 2, dim=0)[1].squeeze(0),
    "apart and together": lambda s: torch.stack([*torch.unbind(s["c"], 1)][::-1], dim=2),
    "part of what was joined": lambda s: torch.cat([s["a"], s["b"]], 1)[1:3, 4:9].t(),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_what_moves_elements_is_followed(way: str) -> None:
    assert torch.equal(refilled(WAYS[way]), WAYS[way](dict(NUMBERS)))


@st.composite
def ways(draw: st.DrawFn) -> Moves:
    axes = draw(st.permutations([0, 1, 2]))
    cut, axis = draw(st.integers(1, 3)), draw(st.integers(0, 2))
    at = draw(st.integers(0, 2))

    def moves(stored: dict[str, Tensor]) -> Tensor:
        turned = stored["c"].permute(axes)
        pieces = torch.split(turned, cut, dim=axis)
        joined = torch.cat([*pieces[at % len(pieces) :], *pieces[: at % len(pieces)]], dim=axis)
        return torch.stack([joined, turned], dim=at).select(at, draw_first)

    draw_first = draw(st.integers(0, 1))
    return moves


@given(ways())
def test_any_cuts_turns_and_joins_are_followed(moves: Moves) -> None:
    assert torch.equal(refilled(moves), moves(dict(NUMBERS)))


def test_what_computes_is_told_with_the_stored_names() -> None:
    traced = TracedTensor.stored("a", (4, 6), torch.float32)
    with unfollowed() as problems:
        made = traced * 2
    assert not isinstance(made, TracedTensor)
    assert problems == ["aten.mul on a: it computes with weights"]


def test_a_layout_that_does_not_fill_a_module_names_what_is_wrong() -> None:
    module = {("x",): torch.empty(2, 3)}
    with pytest.raises(CheckpointError, match=r"base, tensor x: got \[3, 2\], wanted \[2, 3\] as in the"):
        Layout.plain({"x": (3, 2)}).boxes("base", module)
    half = Layout((Part("a", 0, (1, 3), (3, 1), "x", (1, 0)),))
    with pytest.raises(
        CheckpointError, match=r"base: a fills 3 of 6 elements of the module's x: a tensor is lac"
    ):
        half.boxes("base", module)
    with pytest.raises(CheckpointError, match=r"does not fit the module: missing \['x'\], unknown \['y'\]"):
        Layout.plain({"y": (2, 3)}).boxes("base", module)
