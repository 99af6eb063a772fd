"""Conformance with PEFT: what it writes is read as it means it, and it reads what is written here."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from m2m.checkpoint import Checkpoint, save, verify
from m2m.checkpoint.checkpoint import read_tensor
from m2m.merging import merge, methods
from m2m.merging.lora import AdaptedCheckpoint, Adapter
from m2m.merging.lora.additions import Product
from m2m.merging.methods import Inputs, settings_of
from m2m.testing.tolerance import gamma

peft = pytest.importorskip("peft", reason="PEFT is not installed")
conv1d = pytest.importorskip("transformers.pytorch_utils").Conv1D
pytestmark = pytest.mark.filterwarnings("ignore")

#: Rank, with room for what PEFT's own roundings in float32 add.
TERMS = 64


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(12, 20)
        self.o_proj = nn.Linear(20, 12, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.o_proj(self.q_proj(x))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(30, 12)
        self.layers = nn.ModuleList([Block(), Block()])
        self.c_attn = conv1d(18, 12)
        self.head = nn.Linear(18, 30)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.c_attn(x))


CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": ["q_proj", "o_proj"], "r": 4, "lora_alpha": 6},
    "rslora": {"target_modules": ["q_proj"], "r": 4, "lora_alpha": 6, "use_rslora": True},
    "patterns": {
        "target_modules": ["q_proj", "o_proj"],
        "r": 4,
        "rank_pattern": {"layers.1.q_proj": 7, "o_proj": 2},
        "alpha_pattern": {"^layers.0.q_proj": 3},
    },
    "biases": {"target_modules": ["q_proj"], "r": 3, "lora_bias": True},
    "trained_biases": {"target_modules": ["q_proj"], "r": 3, "bias": "all"},
    "embedding": {"target_modules": ["embed_tokens", "q_proj"], "r": 5},
    "whole": {"target_modules": ["q_proj"], "modules_to_save": ["head"], "r": 2},
    "in_out": {"target_modules": ["c_attn"], "fan_in_fan_out": True, "r": 3},
    "dora": {"target_modules": ["q_proj", "o_proj", "embed_tokens"], "r": 4, "use_dora": True},
    "dora_in_out": {"target_modules": ["c_attn"], "fan_in_fan_out": True, "r": 3, "use_dora": True},
}


@pytest.fixture
def model(tmp_path: Path) -> Model:
    torch.manual_seed(0)
    built = Model()
    save(built.state_dict(), tmp_path / "base")
    return built


def adapt(model: Model, folder: Path, seed: int, **config: Any) -> dict[str, Tensor]:
    """Let PEFT draw, save and merge an adapter; returns its merged model."""
    torch.manual_seed(seed)
    adapted = peft.get_peft_model(deepcopy(model), peft.LoraConfig(init_lora_weights=False, **config))
    for name, parameter in adapted.named_parameters():
        if parameter.requires_grad and "lora_" not in name:
            parameter.data += torch.randn_like(parameter)
    adapted.save_pretrained(folder)
    merged: dict[str, Tensor] = adapted.merge_and_unload().state_dict()
    return merged


def exact_delta(base: Checkpoint, folders: dict[Path, float], name: str) -> tuple[Tensor, Tensor]:
    """Σ α s BA by plain matrix products in float64, and the same of magnitudes."""
    delta, size = (torch.zeros(base.tensors[name].shape, dtype=torch.float64) for _ in range(2))
    for folder, weight in folders.items():
        factors = Adapter(folder).factors.get(name.removesuffix(".weight"))
        if factors is None:
            continue
        a, b = (Checkpoint(info.file).read(info.name).double() for info in (factors.a, factors.b))
        delta += weight * factors.scale * (b @ a)
        size += abs(weight * factors.scale) * (b.abs() @ a.abs())
    return delta, size


@pytest.mark.parametrize("kind", CONFIGS)
def test_an_adapter_means_what_peft_makes_of_it(model: Model, tmp_path: Path, kind: str) -> None:
    wanted = adapt(model, tmp_path / "lora", 1, **CONFIGS[kind])
    recipe = {"merge_method": "passthrough", "models": [{"model": f"{tmp_path}/base+{tmp_path}/lora"}]}
    merge(recipe, tmp_path / "out")
    got = Checkpoint(tmp_path / "out").state()
    assert got.keys() == wanted.keys()
    changed = [name for name, tensor in got.items() if not torch.equal(tensor, model.state_dict()[name])]
    assert changed
    for name, tensor in got.items():
        size = wanted[name].abs().max() + (wanted[name] - model.state_dict()[name]).abs().max() * TERMS
        assert (tensor - wanted[name]).abs().max() <= gamma(TERMS, 2.0**-24) * size, name


def test_peft_loads_a_joined_adapter_as_the_dense_sum(model: Model, tmp_path: Path) -> None:
    weights = {"plain": 0.7, "rslora": -0.4, "patterns": 1.3}
    for seed, kind in enumerate(weights):
        adapt(model, tmp_path / kind, seed, **CONFIGS[kind])
    entries = [{"model": str(tmp_path / kind), "parameters": {"weight": w}} for kind, w in weights.items()]
    recipe = {"merge_method": "task_arithmetic", "base_model": str(tmp_path / "base"), "models": entries}
    merge(recipe, tmp_path / "joined", as_adapter=True, verify=True)
    assert verify(tmp_path / "joined").folders == 1
    loaded = peft.PeftModel.from_pretrained(deepcopy(model), tmp_path / "joined")
    got = loaded.merge_and_unload().state_dict()
    base = Checkpoint(tmp_path / "base")
    folders = {tmp_path / kind: weight for kind, weight in weights.items()}
    for name, tensor in base.state().items():
        delta, size = exact_delta(base, folders, name)
        bound = gamma(TERMS, 2.0**-24) * (tensor.double().abs() + size)
        assert ((got[name].double() - tensor.double() - delta).abs() <= bound).all(), name
    # And it is read here as the expert it now is.
    rejoined = AdaptedCheckpoint(base, Adapter(tmp_path / "joined"))
    merge(recipe, tmp_path / "dense", dtype="float64")
    for name, tensor in Checkpoint(tmp_path / "dense").state().items():
        _, size = exact_delta(base, folders, name)
        assert ((rejoined.read(name).double() - tensor).abs() <= 2.0**-23 * (tensor.abs() + size)).all(), name


def test_averaging_factors_apart_is_not_the_merge(model: Model, tmp_path: Path) -> None:
    folders = {tmp_path / f"l{n}": 0.25 for n in range(4)}
    for seed, folder in enumerate(folders):
        adapt(model, folder, seed, target_modules=["q_proj"], r=8, lora_alpha=8)
    first, *others = folders
    combined = peft.PeftModel.from_pretrained(deepcopy(model), first, adapter_name="l0")
    for folder in others:
        combined.load_adapter(folder, adapter_name=folder.name)
    names = [folder.name for folder in folders]
    base, name = Checkpoint(tmp_path / "base"), "layers.0.q_proj.weight"
    delta, _ = exact_delta(base, folders, name)
    for kind, low, high in (("cat", 0.0, 1e-6), ("linear", 1.0, 3.0)):
        combined.add_weighted_adapter(names, [0.25] * 4, kind, combination_type=kind)
        own = combined.base_model.model.layers[0].q_proj.get_delta_weight(kind).double()
        assert low <= float((own - delta).norm() / delta.norm()) <= high, kind


def expert_bound(expert: AdaptedCheckpoint, name: str) -> float:
    """How far PEFT's expert in float32 and ours may lie apart, at any element of a tensor."""
    addition = expert.additions.get(name)
    if addition is None:
        return 0.0
    source = addition.source
    if isinstance(source, Product):
        left, right = (read_tensor(side).double().abs() for side in (source.left, source.right))
        size = left.T @ right.T if source.transposed else left @ right
    else:
        size = read_tensor(source).double().abs()
    base = expert.base.read(name).double().abs()
    return float((base + addition.scale * size).max()) * gamma(TERMS, 2.0**-24)


def test_ties_of_adapters_is_ties_of_what_peft_merges(model: Model, tmp_path: Path) -> None:
    # Trimming and election jump, so elements within reach of a threshold or of a vote of zero are left out:
    # experts that move by at most E move magnitudes, and so their order statistics, by at most E.
    kinds = ("patterns", "rslora", "biases", "whole", "in_out", "embedding")
    weights, density = [1.0, 0.5, 0.8, 1.2, 0.7, 0.9], 0.6
    merged = [adapt(model, tmp_path / kind, seed, **CONFIGS[kind]) for seed, kind in enumerate(kinds)]
    entries = [
        {"model": str(tmp_path / kind), "parameters": {"weight": weight, "density": density}}
        for kind, weight in zip(kinds, weights, strict=True)
    ]
    recipe = {"merge_method": "ties", "base_model": str(tmp_path / "base"), "models": entries}
    merge(recipe, tmp_path / "out", dtype="float64")
    base = Checkpoint(tmp_path / "base")
    experts = [AdaptedCheckpoint(base, Adapter(tmp_path / kind)) for kind in kinds]
    rule, compared = methods.get("ties"), 0
    for name, got in Checkpoint(tmp_path / "out").state().items():
        origin, theirs = base.read(name), [state[name] for state in merged]
        settings = settings_of(rule, len(kinds), tensor=name, weight=weights, density=density)
        want = rule.reference(Inputs(theirs, origin), settings, torch.float64)
        bounds = [expert_bound(expert, name) for expert in experts]
        stable = torch.ones(origin.shape, dtype=torch.bool)
        votes, doubt = torch.zeros(origin.shape, dtype=torch.float64), 0.0
        for tensor, weight, bound in zip(theirs, weights, bounds, strict=True):
            change = tensor.double() - origin.double()
            size = change.abs()
            kept = max(1, int(density * size.numel()))
            threshold = size.reshape(-1).sort(descending=True).values[kept - 1]
            if bound:
                stable &= (size - threshold).abs() > 2 * bound
            votes += torch.where(size >= threshold, weight * change, 0.0)
            doubt += weight * bound
        stable &= (votes.abs() > doubt) | (doubt == 0)
        # A mean with positive weights moves by no more than what moves most; task vectors round once.
        most = max((float((tensor - origin).abs().max()) for tensor in theirs), default=0.0)
        assert ((got - want).abs()[stable] <= max(bounds) + 2.0**-23 * most).all(), name
        compared += int(stable.sum()) if max(bounds) else 0
    adapted = sum(base.tensors[name].elements for name in base.names if expert_bound(experts[0], name))
    assert compared > 0.9 * adapted
