"""Gram matrices from factors are those of the task vectors; one joined adapter is their weighted sum."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.lora_files import factors, save_adapter
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from m2m.checkpoint import Checkpoint, save, verify
from m2m.errors import CheckpointError, ConfigError, RecipeError, RunFolderError
from m2m.merging import merge
from m2m.merging.lora import AdaptedCheckpoint, Adapter, lora_gram
from m2m.testing.tolerance import gamma

SHAPES = {"a.q": (9, 14), "a.o": (14, 9)}
RANKS = (4, 2, 7)


def task_vectors(adapters: list[Adapter], module: str) -> list[Tensor]:
    """s · BA by plain matrix products in float64; zero where a module is not adapted."""
    found = []
    for adapter in adapters:
        own = adapter.factors.get(module)
        if own is None:
            found.append(torch.zeros(SHAPES[module], dtype=torch.float64))
            continue
        a, b = (Checkpoint(info.file).read(info.name).double() for info in (own.a, own.b))
        found.append(own.scale * (b @ a))
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    generator = torch.Generator().manual_seed(5)
    state = {f"{name}.weight": torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    save(state, tmp_path / "base")
    for n, rank in enumerate(RANKS):
        tensors = factors("a.q", 9, 14, rank, n)
        if n != 1:
            tensors |= factors("a.o", 14, 9, rank, 10 + n)
        save_adapter(tmp_path / f"l{n}", tensors, r=rank, use_rslora=n == 2, task_type="CAUSAL_LM")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(
    weights: tuple[float, ...] = (0.5, -2.0, 0.3), method: str = "task_arithmetic", **more: object
) -> dict[str, object]:
    models = [{"model": f"l{n}", "parameters": {"weight": weight}} for n, weight in enumerate(weights)]
    return {"merge_method": method, "base_model": "base", "models": models, **more}


def entries(*models: str) -> list[dict[str, object]]:
    return [{"model": model, "parameters": {"weight": 1.0}} for model in models]


def test_the_gram_matrix_is_that_of_the_task_vectors(folder: Path) -> None:
    adapters = [Adapter(f"l{n}") for n in range(3)]
    gram, whole = lora_gram(adapters), torch.zeros(3, 3, dtype=torch.float64)
    assert gram.modules.keys() == SHAPES.keys()
    for module, got in gram.modules.items():
        vectors = [vector.reshape(-1) for vector in task_vectors(adapters, module)]
        dense = torch.stack([torch.stack([x @ y for y in vectors]) for x in vectors])
        norms = torch.stack([vector.abs().sum() for vector in vectors])
        # Both ways add at most rank² · elements products, each of at most six roundings.
        bound = gamma(2 * (49 * 126 + 6), 2.0**-53) * norms[:, None] * norms[None, :]
        assert ((got - dense).abs() <= bound).all()
        assert torch.equal(got, got.T)
        whole += got
    assert torch.equal(gram.whole, whole)
    assert gram.modules["a.o"][1].eq(0).all()


def test_what_is_no_product_has_no_gram_matrix_here(folder: Path) -> None:
    save_adapter(folder / "bias", factors("a.q", 9, 14, 4, 1) | {"a.q.lora_B.bias": torch.ones(9)})
    with pytest.raises(CheckpointError, match="no product of factors"):
        lora_gram([Adapter("bias")])
    save_adapter(folder / "wide", factors("a.q", 9, 15, 4, 1))
    with pytest.raises(CheckpointError, match=r"module 'a.q' is \(9, 15\)"):
        lora_gram([Adapter("l0"), Adapter("wide")])
    with pytest.raises(CheckpointError, match="at least one"):
        lora_gram([])


@pytest.mark.parametrize("dtype", [None, "float64"])
def test_a_joined_adapter_is_the_weighted_sum(folder: Path, dtype: str | None) -> None:
    report = merge(recipe(), "joined", as_adapter=True, dtype=dtype, verify=True)
    merge(recipe(), "dense", dtype="float64")
    assert report.folders == (Path("joined"),)
    config = json.loads((folder / "joined" / "adapter_config.json").read_bytes())
    assert (config["r"], config["rank_pattern"]) == (13, {"^a.o": 11})
    assert config["task_type"] == "CAUSAL_LM"
    base = Checkpoint("base")
    joined = AdaptedCheckpoint(base, Adapter("joined"))
    merge(recipe(models=entries("joined")), "again", dtype="float64")
    adapters = [Adapter(f"l{n}") for n in range(3)]
    u = 2.0**-24 if dtype is None else 2.0**-53
    for module in SHAPES:
        size = torch.zeros(SHAPES[module], dtype=torch.float64)
        for adapter, weight in zip(adapters, (0.5, -2.0, 0.3), strict=True):
            if module in adapter.factors:
                own = adapter.factors[module]
                a, b = (Checkpoint(info.file).read(info.name).double().abs() for info in (own.a, own.b))
                size += abs(weight) * own.scale * (b @ a)
        name = f"{module}.weight"
        bound = u * size + gamma(32, 2.0**-53) * (size + base.read(name).abs())
        difference = (Checkpoint("again").read(name) - Checkpoint("dense").read(name)).abs()
        assert (difference <= bound).all()
        assert joined.modules[name][1].scale == 1.0


def test_candidates_become_an_adapter_each(folder: Path) -> None:
    table = {"one": (1.0, 0.0, 0.0), "two": (0.5, 0.5, 0.0)}
    report = merge(recipe(), "many", as_adapter=True, candidates=table)
    assert [path.name for path in report.folders] == ["one", "two"]
    assert verify("many").folders == 2
    assert Adapter("many/one").factors.keys() == {"a.q", "a.o"}
    assert Adapter("many/one").config.rank_of("a.q") == 4
    assert Adapter("many/two").config.rank_of("a.q") == 6
    assert Adapter("many/two").config.rank_of("a.o") == 4


@pytest.mark.parametrize(
    ("written", "error", "message"),
    [
        (
            recipe(method="linear", parameters={"normalize": False}),
            RecipeError,
            "can only add to its base model",
        ),
        (recipe((0.0, 0.0, 0.0)), RecipeError, "all merging weights are zero"),
        (recipe(models=entries("base+l0", "dense")), RecipeError, "is a whole model"),
        (
            recipe(merge_method="model_stock", models=[{"model": "dense"}, {"model": "dense"}]),
            RecipeError,
            "model_stock is no weighted sum, .* leave as_adapter out to write the merged model",
        ),
        (
            recipe((0.5, 0.2, 0.3), merge_method="ties", parameters={"density": 0.5}),
            RecipeError,
            "ties is no weighted sum, .* leave as_adapter out to write the merged model",
        ),
    ],
)
def test_what_is_no_adapter_is_not_written_as_one(
    folder: Path, written: dict[str, object], error: type[Exception], message: str
) -> None:
    save(Checkpoint("base").state(), folder / "dense")
    with pytest.raises(error, match=message):
        merge(written, "joined", as_adapter=True)
    assert not (folder / "joined").exists()


@pytest.mark.parametrize(
    ("option", "error", "message"),
    [
        ({"statistics": True}, RecipeError, "come from their factors"),
        ({"allow_nonfinite": True}, ConfigError, "must be finite"),
    ],
)
def test_what_does_not_go_with_adapters_is_said(
    folder: Path, option: dict[str, bool], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        merge(recipe(), folder / "joined", as_adapter=True, **option)
    assert not (folder / "joined").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tokenizer_source", "union"),
        ("tokenizer", {"source": "base", "pad_to_multiple_of": 64}),
        ("tokenizer", {"source": "l0"}),
        ("chat_template", "chatml"),
    ],
)
def test_what_an_adapter_cannot_hold_of_a_recipe_is_refused(folder: Path, key: str, value: object) -> None:
    with pytest.raises(RecipeError, match=rf"^{key.split('_source')[0]}.*: an adapter goes with its base"):
        merge(recipe(**{key: value}), "joined", as_adapter=True)
    assert not (folder / "joined").exists()


def test_the_base_models_tokenizer_is_what_an_adapter_goes_with(folder: Path) -> None:
    merge(recipe(), "without", as_adapter=True)
    merge(recipe(tokenizer_source="base"), "joined", as_adapter=True)
    one, other = (load_file(folder / name / "adapter_model.safetensors") for name in ("without", "joined"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_an_adapter_is_never_written_over_another(folder: Path) -> None:
    merge(recipe(), "joined", as_adapter=True)
    with pytest.raises(RunFolderError, match="exists already"):
        merge(recipe(), "joined", as_adapter=True)


@given(weights=st.lists(st.floats(0.01, 2), min_size=3, max_size=3))
def test_linear_weights_that_are_normalised_leave_the_base_model_whole(
    tmp_path_factory: pytest.TempPathFactory, weights: list[float]
) -> None:
    from m2m.merging.as_adapter import check_sums_to_base
    from m2m.merging.lora.terms import resolve_terms

    folder = tmp_path_factory.getbasetemp() / "linear_lora"
    if not folder.exists():
        save({"a.q.weight": torch.ones(9, 14), "other": torch.ones(3)}, folder / "base")
        for n in range(3):
            save_adapter(folder / f"l{n}", factors("a.q", 9, 14, 4, n))
    base = Checkpoint(folder / "base")
    experts = [AdaptedCheckpoint(base, Adapter(folder / f"l{n}")) for n in range(3)]
    row = [weight / sum(weights) for weight in weights]
    for name in ("a.q.weight", "other"):
        terms = resolve_terms(experts, [name] * 3, [row], on_task_vectors=False)
        assert len(terms.dense) == 1
        check_sums_to_base(name, terms.weights[0][:1], row)
        terms = resolve_terms([base, *experts], [name] * 4, [weights], on_task_vectors=True)
        assert terms.weights[0][0] == 1.0
