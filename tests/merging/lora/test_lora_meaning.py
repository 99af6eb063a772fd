"""What adapters mean, against dense experts made by hand; what a reader could get wrong."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from helpers.lora_files import State, factors, save_adapter

from m2m.checkpoint import Checkpoint, save
from m2m.errors import CheckpointError
from m2m.merging import merge
from m2m.merging.lora import AdaptedCheckpoint, Adapter
from m2m.testing.tolerance import gamma

NAMES = ("model.layers.0.q.weight", "model.layers.1.q.weight", "model.norm.weight")
#: r, α and whether rsLoRA, of three adapters.
KINDS = ((4, 8, False), (9, 2, True), (1, 1, False))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    generator = torch.Generator().manual_seed(1)
    for name in ("base", "full"):
        save({key: torch.randn(8, 6, generator=generator) for key in NAMES}, tmp_path / name)
    for n, (rank, alpha, rslora) in enumerate(KINDS):
        tensors = factors("model.layers.0.q", 8, 6, rank, n) | factors("model.layers.1.q", 8, 6, rank, 9 + n)
        save_adapter(tmp_path / f"l{n}", tensors, r=rank, lora_alpha=alpha, use_rslora=rslora)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def dense_expert(n: int) -> State:
    """θ_n = W + s·BA by a plain matrix product in float64."""
    rank, alpha, rslora = KINDS[n]
    scale = alpha / math.sqrt(rank) if rslora else alpha / rank
    expert = {name: tensor.double() for name, tensor in Checkpoint("base").state().items()}
    own = Checkpoint(f"l{n}/adapter_model.safetensors").state()
    for layer in (0, 1):
        module = f"model.layers.{layer}.q"
        a, b = (own[f"base_model.model.{module}.lora_{side}.weight"].double() for side in "AB")
        expert[f"{module}.weight"] += scale * (b @ a)
    return expert


def recipe(method: str, weights: dict[str, float], **changes: object) -> dict[str, object]:
    models = [{"model": name, "parameters": {"weight": weight}} for name, weight in weights.items()]
    return {"merge_method": method, "base_model": "base", "models": models, "dtype": "float64", **changes}


@pytest.mark.parametrize("method", ["linear", "task_arithmetic"])
@pytest.mark.parametrize("with_full", [False, True])
def test_the_merge_is_that_of_the_dense_experts(folder: Path, method: str, with_full: bool) -> None:
    weights = {"l0": 0.5, "base+l1": -0.25, "l2": 1.5} | ({"full": 0.125} if with_full else {})
    merge(recipe(method, weights, parameters={"normalize": False}), "out")
    full = {name: tensor.double() for name, tensor in Checkpoint("full").state().items()}
    experts = [*(dense_expert(n) for n in range(3)), *([full] if with_full else [])]
    for name, tensor in Checkpoint("out").state().items():
        base = Checkpoint("base").read(name).double()
        terms = [weight * expert[name] for weight, expert in zip(weights.values(), experts, strict=True)]
        want = torch.stack(terms).sum(0)
        if method == "task_arithmetic":
            want += (1 - sum(weights.values())) * base
        # No float64 sum here has more than 64 terms; tensors that no adapter changes are summed in float32.
        u = 2.0**-53 if "layers" in name else 2.0**-24
        size = sum(map(abs, weights.values())) * max(float(expert[name].abs().max()) for expert in experts)
        assert (tensor - want).abs().max() <= gamma(64, u) * (size + 8 * float(base.abs().max())), name


def test_adapters_alone_leave_the_base_model_as_it_is(folder: Path) -> None:
    report = merge(recipe("task_arithmetic", {"l0": 0.1, "l1": 0.2, "l2": 0.3}), "out", dtype="float32")
    assert torch.equal(Checkpoint("out").read(NAMES[2]), Checkpoint("base").read(NAMES[2]))
    in_factors = sum(4 * 2 * rank * (8 + 6) for rank, _, _ in KINDS)
    assert report.read_bytes == 4 * 3 * 48 + in_factors


def test_candidates_are_what_separate_merges_would_be(folder: Path) -> None:
    table = {"a": (1.0, 0.0, 0.0), "b": (0.3, 0.3, -0.5), "c": (0.0, 0.0, 0.0)}
    models = {"l0": 1.0, "l1": 1.0, "full": 1.0}
    merge(recipe("task_arithmetic", models), "many", candidates=table)
    for name, row in table.items():
        merge(recipe("task_arithmetic", dict(zip(models, row, strict=True))), name)
        together, alone = Checkpoint(f"many/{name}").state(), Checkpoint(name).state()
        assert all(torch.equal(together[key], alone[key]) for key in alone)


def test_an_interrupted_merge_of_adapters_resumes(folder: Path) -> None:
    written = recipe("task_arithmetic", {"l0": 0.5, "l1": 0.5})

    def interrupt(done: int, total: int, what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(written, "out", progress=interrupt)
    merge(written, "out", resume=True)
    merge(written, "whole")
    for name in NAMES:
        assert torch.equal(Checkpoint("out").read(name), Checkpoint("whole").read(name))
    # Other factors of the same size are another merge.
    with pytest.raises(KeyboardInterrupt):
        merge(written, "other", progress=interrupt)


def test_adapters_on_different_models_keep_their_own(folder: Path) -> None:
    merge(recipe("linear", {"base+l0": 0.5, "full+l0": 0.5}), "out")
    own = dense_expert(0)
    for name, tensor in Checkpoint("out").state().items():
        base, full = Checkpoint("base").read(name).double(), Checkpoint("full").read(name).double()
        want = 0.5 * own[name] + 0.5 * (full + own[name] - base)
        assert torch.allclose(tensor, want, rtol=0, atol=gamma(64, 2.0**-24) * float(want.abs().max() + 8))


@pytest.mark.parametrize(
    ("written", "stored"), [("model.", ""), ("", "model."), ("model.", "language.model.")]
)
def test_names_may_differ_by_a_prefix(folder: Path, written: str, stored: str) -> None:
    save({f"{stored}layers.{i}.q.weight": torch.ones(8, 6) for i in range(12)}, folder / "named")
    tensors = factors(f"{written}layers.1.q", 8, 6, 4, 1) | factors(f"{written}layers.11.q", 8, 6, 4, 2)
    adapter = Adapter(save_adapter(folder / "lora", tensors))
    adapted = AdaptedCheckpoint(Checkpoint("named"), adapter)
    assert set(adapted.additions) == {f"{stored}layers.1.q.weight", f"{stored}layers.11.q.weight"}


def test_a_prefix_that_could_be_two_is_refused(folder: Path) -> None:
    save({f"{side}.layers.0.q.weight": torch.ones(8, 6) for side in ("left", "right")}, folder / "two")
    adapter = Adapter(save_adapter(folder / "lora", factors("layers.0.q", 8, 6, 4, 1)))
    with pytest.raises(CheckpointError, match=r"fit .*two with 2 different prefixes"):
        _ = AdaptedCheckpoint(Checkpoint("two"), adapter).additions


def test_pickled_adapters_and_adapter_names_are_read(folder: Path) -> None:
    own = Checkpoint("l0/adapter_model.safetensors").state()
    (folder / "old").mkdir()
    renamed = {name.replace(".weight", ".default.weight"): tensor for name, tensor in own.items()}
    torch.save(renamed, folder / "old" / "adapter_model.bin")
    (folder / "old" / "adapter_config.json").write_bytes(Path("l0/adapter_config.json").read_bytes())
    merge(recipe("task_arithmetic", {"old": 0.5}), "from_bin")
    merge(recipe("task_arithmetic", {"l0": 0.5}), "from_safetensors")
    for name in NAMES:
        assert torch.equal(Checkpoint("from_bin").read(name), Checkpoint("from_safetensors").read(name))


def test_subnormal_factors_count_whatever_the_caller_has_switched_off(folder: Path) -> None:
    save({"w.weight": torch.zeros(2, 64)}, folder / "zero")
    tiny = {"w.A": torch.full((4, 64), 1e-40), "w.B": torch.full((2, 4), 1e30)}
    save_adapter(folder / "tiny", tiny, r=4, lora_alpha=4)
    models = [{"model": "zero+tiny"}]
    try:
        torch.set_flush_denormal(True)
        merge({"merge_method": "passthrough", "models": models}, "out")
    finally:
        torch.set_flush_denormal(False)
    assert (Checkpoint("out").read("w.weight") > 3e-10).all()
