"""The law of LoRA experts: the stream gives the bits of the twin, however it is cut up."""

from __future__ import annotations

import math
import shutil

import pytest
import torch
from helpers.lora_files import State, factors, save_adapter
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from m2m import _core
from m2m.checkpoint import Checkpoint, save
from m2m.merging import merge
from m2m.merging.lora import AdaptedCheckpoint, Adapter
from m2m.merging.lora.terms import merge_adapted
from m2m.merging.stream import memory

#: More tensors than the factors of which are in memory at a time.
ADAPTED = ("q.weight", "v.weight", "o.weight", "up.weight")
DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


def bits(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).contiguous().view(torch.uint8)


def recipe(method: str, models: dict[str, float], **changes: object) -> dict[str, object]:
    entries = [{"model": name, "parameters": {"weight": weight}} for name, weight in models.items()]
    return {"merge_method": method, "base_model": "base", "models": entries, **changes}


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 1300)),
    ranks=st.lists(st.integers(1, 19), min_size=1, max_size=3),
    dtypes=st.tuples(*[st.sampled_from(DTYPES)] * 3),
    threads=st.integers(1, 5),
    slot=st.sampled_from([4096, 8192, 128 * 1024]),
    isa=st.sampled_from(_core.available_isas()),
    method=st.sampled_from(["linear", "task_arithmetic"]),
    dense=st.booleans(),
    dora=st.lists(st.booleans(), min_size=3, max_size=3),
    flipped=st.booleans(),
    data=st.data(),
)
def test_streamed_bits_are_those_of_the_twin(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    shape: tuple[int, int],
    ranks: list[int],
    dtypes: tuple[torch.dtype, ...],
    threads: int,
    slot: int,
    isa: str,
    method: str,
    dense: bool,
    dora: list[bool],
    flipped: bool,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "lora_law"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    generator = torch.Generator().manual_seed(seed)
    for name in ("base", "dense"):
        state = {key: torch.randn(shape, generator=generator).to(dtypes[0]) for key in ("k.weight", *ADAPTED)}
        save(state, folder / name)
    weight = st.sampled_from([0.0, 1.0, -0.5, 1 / 3]) | st.floats(-2, 2)
    weights = {f"lora{n}": data.draw(weight) for n in range(len(ranks))} | ({"dense": 0.7} if dense else {})
    # Experts that take the base model away from each other leave nothing: that is refused.
    assume(dense or method == "task_arithmetic" or math.fsum(weights.values()) != 0)
    base, opened = Checkpoint(folder / "base"), []
    for n, rank in enumerate(ranks):
        own: State = {}
        edges = shape[::-1] if flipped else shape  # the model then stores [in, out]
        for name in ADAPTED[: len(ADAPTED) - n]:
            module, kind = name.removesuffix(".weight"), dtypes[1 + n % 2]
            own |= factors(module, *edges, rank, seed % 1000 + n, kind, dora=dora[n])
        config = {"r": rank, "use_rslora": n % 2 == 1, "use_dora": dora[n], "fan_in_fan_out": flipped}
        adapter = Adapter(save_adapter(folder / f"lora{n}", own, **config))
        opened.append((AdaptedCheckpoint(base, adapter), weights[f"lora{n}"]))
    if dense:
        opened.append((Checkpoint(folder / "dense"), 0.7))
    before = _core.current_isa()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(memory, "SLOT_BYTES", slot)
            patch.chdir(folder)
            _core.use_isa(isa)
            changes = {"parameters": {"normalize": False}}
            merge(recipe(method, weights, **changes), folder / "out", threads=threads)
    finally:
        _core.use_isa(before)
    for name, tensor in Checkpoint(folder / "out").state().items():
        want = merge_adapted(opened, name, base=base if method == "task_arithmetic" else None)
        assert torch.equal(bits(tensor), bits(want)), name
