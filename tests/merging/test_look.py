"""A look without a merge: the engine's sums, in one read, whatever the types, threads and instruction set."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from m2m import _core
from m2m.checkpoint import Checkpoint, save
from m2m.errors import CheckpointError
from m2m.merging.look import TensorLook, look_at_task_vectors
from m2m.merging.methods.exact import gram_matrix, task_vectors
from m2m.merging.stream import memory, passes

SHAPES = {"a": (300, 70), "b": (70_001,), "c": (0,), "d": (5,)}
DIGITS = {
    torch.bfloat16: (7, -133),
    torch.float16: (10, -24),
    torch.float32: (23, -149),
    torch.float64: (52, -1074),
}
U = 2.0**-53


def models(tmp_path: Path, dtypes: list[torch.dtype]) -> tuple[list[Checkpoint], list[dict[str, Tensor]]]:
    generator = torch.Generator().manual_seed(5)
    states = []
    for number, dtype in enumerate(dtypes):
        state = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()}
        state["d"][:2] = 0  # equal to the base: a zero in the task vector
        state["steps"] = torch.tensor([3])
        save(state, tmp_path / str(number), {})
        states.append(state)
    return [Checkpoint(tmp_path / str(number)) for number in range(len(dtypes))], states


def spacing(values: Tensor) -> Tensor:
    """Distance from |x| to the next number of its type, by the definition of the type."""
    digits, least = DIGITS[values.dtype]
    wide = values.double()
    exponent = torch.frexp(wide)[1] - 1 - digits
    exact = torch.ldexp(torch.ones_like(wide), exponent.clamp(min=least))
    return torch.where(wide == 0, 2.0**least, exact)


@pytest.mark.parametrize(
    "dtypes",
    [
        [torch.bfloat16] * 3,
        [torch.float16] * 3,
        [torch.bfloat16, torch.float32, torch.float32],
        [torch.float64, torch.float64, torch.float32],
    ],
)
def test_a_look_finds_what_whole_tensors_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtypes: list[torch.dtype]
) -> None:
    monkeypatch.setattr(passes, "WINDOW_BYTES", 100_000)
    monkeypatch.setattr(memory, "SLOT_BYTES", 8192)
    (base, *experts), states = models(tmp_path, dtypes)
    looks = look_at_task_vectors(base, experts, threads=2)
    assert [look.name for look in looks] == [name for name in base.names if name != "steps"]
    for look in looks:
        values = [state[look.name] for state in states]
        if len(set(dtypes)) > 1:
            wide = torch.float64 if torch.float64 in dtypes else torch.float32
            values = [value.to(wide) for value in values]
        vectors = task_vectors(values[0], values[1:])
        check(look, vectors, states[0][look.name])


def check(look: TensorLook, vectors: list[Tensor], base: Tensor) -> None:
    """Sums of products bit for bit, counts exactly, sums over the base within the bound of any order."""
    flat = torch.stack([vector.flatten().double() for vector in vectors])
    count = flat.shape[1]
    assert look.elements == count
    assert look.gram == gram_matrix(vectors)
    assert look.squares == gram_matrix(list(flat**2))
    assert look.largest == (flat.abs().amax(1).tolist() if count else [0.0] * len(flat))
    above, below = (flat > 0).double(), (flat < 0).double()
    assert look.same_sign == (above @ above.T + below @ below.T).tolist()
    assert look.opposite_sign == (above @ below.T + below @ above.T).tolist()
    bound = (count + 3) * U  # of a sum of non-negative terms, in any order
    ulps = spacing(base.flatten())
    for found, wanted in (
        (look.base_square, base.double().square().sum()),
        (look.ulp_square, ulps.square().sum()),
        (look.ulp_fourth, ulps.pow(4).sum()),
    ):
        assert math.isclose(found, wanted.item(), rel_tol=2 * bound, abs_tol=0)


def test_every_instruction_set_and_thread_count_finds_the_same(tmp_path: Path) -> None:
    (base, *experts), _ = models(tmp_path, [torch.bfloat16] * 6)
    best = _core.current_isa()
    looks = []
    try:
        for isa in _core.available_isas():
            _core.use_isa(isa)
            looks.append(look_at_task_vectors(base, experts, threads=1 + len(looks) % 2, memory="1MiB"))
    finally:
        _core.use_isa(best)
    assert all(look == looks[0] for look in looks)


@settings(max_examples=20, deadline=None)
@given(
    experts=st.integers(1, 20),
    count=st.integers(1, 700),
    dtype=st.sampled_from(list(DIGITS)),
    isa=st.sampled_from(_core.available_isas()),
    seed=st.integers(0, 2**32),
)
def test_law_every_instruction_set_gives_the_twins_bits(
    experts: int, count: int, dtype: torch.dtype, isa: str, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(count, generator=generator).to(dtype)
    steps = (
        torch.randn(experts, count, generator=generator)
        * torch.rand(experts, count, generator=generator) ** 9
    )
    values = [(base + step.where(step.abs() > 1e-3, 0)).to(dtype) for step in steps]
    with tempfile.TemporaryDirectory() as folder:
        opened = []
        for number, value in enumerate([base, *values]):
            save({"w": value}, Path(folder) / str(number), {})
            opened.append(Checkpoint(Path(folder) / str(number)))
        best = _core.current_isa()
        _core.use_isa(isa)
        try:
            (look,) = look_at_task_vectors(opened[0], opened[1:], threads=1)
        finally:
            _core.use_isa(best)
    check(look, task_vectors(base, values), base)


def test_progress_counts_the_models_bytes(tmp_path: Path) -> None:
    (base, *experts), states = models(tmp_path, [torch.float32] * 2)
    told: list[tuple[int, int, str]] = []
    look_at_task_vectors(base, experts, progress=lambda *now: told.append(now))
    total = sum(value.nbytes for value in states[0].values())
    assert told[-1] == (total, total, "look")


def test_refusals(tmp_path: Path) -> None:
    (base, expert), states = models(tmp_path, [torch.float32] * 2)
    with pytest.raises(CheckpointError, match="at least one expert"):
        look_at_task_vectors(base, [])
    save(states[1] | {"d": torch.zeros(6)}, tmp_path / "other", {})
    with pytest.raises(CheckpointError, match=r"'d' has shape \[6\], wanted \[5\]"):
        look_at_task_vectors(base, [Checkpoint(tmp_path / "other")])
    save(states[1] | {"steps": torch.tensor([4])}, tmp_path / "steps", {})
    look_at_task_vectors(base, [Checkpoint(tmp_path / "steps")])  # what is not averaged has no task vector
    states[1]["b"][7] = math.nan
    save(states[1], tmp_path / "nan", {})
    with pytest.raises(CheckpointError, match="'b' is NaN or infinite at index 7"):
        look_at_task_vectors(base, [expert, Checkpoint(tmp_path / "nan")])
