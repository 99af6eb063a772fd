"""A method is one object: registered, it is merged by recipe and stream, with the bits of its twin."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.lora_files import factors, save_adapter

from m2m.checkpoint import Checkpoint, save
from m2m.errors import ConfigError, M2MError, RecipeError
from m2m.merging import merge
from m2m.merging.lora import AdaptedCheckpoint, AdaptedTensor, Adapter, expert_tensors
from m2m.merging.methods import METHODS, GramSum, Inputs, WeightedSum, get, number, register, settings_of
from m2m.merging.stream import passes

PAGE = Path(__file__).parents[3] / "docs" / "add_a_method.md"
SHAPES = {"a": (40, 30), "b": (7,), "c": (3, 5, 2)}
WEIGHTS = [0.5, 0.25, 1.0]


@pytest.fixture
def known() -> Iterator[None]:
    """What a test registers is forgotten again."""
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)


@pytest.fixture
def equal_length(known: None, tmp_path: Path) -> None:
    """Import the page's file."""
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)[0]
    file = tmp_path / "equal_length.py"
    file.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("equal_length", file)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def make_models(folder: Path, experts: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(4)
    states = []
    for model in range(experts + 1):
        state = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
        states.append({name: (tensor * (1 + model)).bfloat16() for name, tensor in state.items()})
        save(states[-1], folder / f"m{model}")
    return states


def recipe(method: str, folder: Path, weights: list[float], **parameters: object) -> dict[str, object]:
    models = [
        {"model": str(folder / f"m{n}"), "parameters": {"weight": weight}}
        for n, weight in enumerate(weights, start=1)
    ]
    return {
        "merge_method": method,
        "base_model": str(folder / "m0"),
        "models": models,
        "parameters": parameters,
    }


def test_the_pages_method_is_its_twin(
    tmp_path: Path, equal_length: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "WINDOW_BYTES", 1000)
    base, *experts = make_models(tmp_path, 3)
    candidates = {"x": WEIGHTS, "y": [1.0, 0.0, -2.0]}
    merge(recipe("equal_length", tmp_path, WEIGHTS), tmp_path / "out", candidates=candidates, threads=2)
    method = get("equal_length")
    for candidate, weights in candidates.items():
        settings = settings_of(method, 3, weight=weights)
        for name, got in Checkpoint(tmp_path / "out" / candidate).state().items():
            inputs = Inputs([expert[name] for expert in experts], base[name])
            assert torch.equal(got, method.reference(inputs, settings, torch.bfloat16)), name


def test_the_pages_method_does_what_it_says(tmp_path: Path, equal_length: None) -> None:
    del tmp_path
    long, short = torch.zeros(4).double(), torch.zeros(4).double()
    long[0], short[1] = 6.0, 2.0
    method = get("equal_length")
    settings = settings_of(method, 2, weight=[1.0, 0.5])
    merged = method.reference(Inputs([long, short], torch.zeros(4).double()), settings, torch.float64)
    assert merged.tolist() == [4.0, 2.0, 0.0, 0.0]


def test_it_merges_adapters(tmp_path: Path, equal_length: None) -> None:
    base = save({"w.weight": torch.randn(30, 20).bfloat16()}, tmp_path / "base")
    paths = [save_adapter(tmp_path / f"a{n}", factors("w", 30, 20, 4, n)) for n in range(2)]
    models = [{"model": str(path), "parameters": {"weight": 0.5}} for path in paths]
    merge({"merge_method": "equal_length", "base_model": str(base), "models": models}, tmp_path / "out")
    method, dense = get("equal_length"), Checkpoint(base)
    formed = [AdaptedCheckpoint(dense, Adapter(path)) for path in paths]
    experts = [
        source.form()
        for source in expert_tensors(formed, ["w.weight"] * 2)
        if isinstance(source, AdaptedTensor)
    ]
    settings = settings_of(method, 2, weight=[0.5, 0.5])
    want = method.reference(Inputs(experts, dense.read("w.weight")), settings, torch.bfloat16)
    assert torch.equal(Checkpoint(tmp_path / "out").read("w.weight"), want)


@pytest.mark.usefixtures("known")
def test_a_weighted_sum_needs_its_weights_only(tmp_path: Path) -> None:
    register(
        WeightedSum(
            name="halved",
            base="ignored",
            parameters=(number("weight", "model"),),
            space="weights",
            source="a test",
            weights=lambda settings: [weight / 2 for weight in settings.numbers("weight")],
        )
    )
    _, *experts = make_models(tmp_path, 3)
    merge(recipe("halved", tmp_path, WEIGHTS), tmp_path / "out")
    settings = settings_of(get("halved"), 3, weight=WEIGHTS)
    for name, got in Checkpoint(tmp_path / "out").state().items():
        inputs = Inputs([expert[name] for expert in experts])
        assert torch.equal(got, get("halved").reference(inputs, settings, torch.bfloat16)), name


@pytest.mark.usefixtures("known")
def test_a_name_is_taken_once() -> None:
    linear = METHODS["linear"]
    register(linear)
    other = WeightedSum(name="linear", base="ignored", space="weights", source="", weights=lambda _: [])
    with pytest.raises(RecipeError, match="'linear' is the name of another method already"):
        register(other)
    assert get("linear") is linear


def halved(**fields: Any) -> WeightedSum:
    """A method of a user's, with other fields."""
    kept: dict[str, Any] = {
        "name": "halved",
        "base": "ignored",
        "space": "weights",
        "source": "a test",
        "parameters": (number("weight", "model"),),
        "weights": lambda settings: settings.numbers("weight"),
    }
    return WeightedSum(**kept | fields)


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "the name of a merge method must be text, got '': it is empty"),
        ({"name": 5}, "the name of a merge method must be text, got 5"),
        ({"base": "sometimes"}, "merge method 'halved': base must be one of .*, got 'sometimes'"),
        ({"space": ["weights"]}, "merge method 'halved': space must be one of .*, got"),
        ({"weights": 5}, "merge method 'halved': weights must be a function, got 5"),
        ({"parameters": ("weight",)}, "merge method 'halved': parameters must be number"),
        ({"parameters": 5}, "merge method 'halved': parameters must be number"),
    ],
)
def test_a_method_that_is_none_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        register(halved(**fields))
    assert "halved" not in METHODS


def test_what_is_no_method_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"must be an object such as WeightedSum\(...\), got 'linear'"):
        register("linear")  # type: ignore[arg-type]


def divides(*_: object) -> list[float]:
    """Fail as a slip does."""
    return [1 / 0]


def leaves(*_: object) -> list[float]:
    """End the program as if all was done."""
    sys.exit(0)


def refuses(*_: object) -> list[float]:
    """Refuse as a method should."""
    raise RecipeError("weights of this size mean nothing")


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("field", ["weights", "vectors", "rejects"])
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (divides, r"merge method 'own': {field} fails: ZeroDivisionError.*test_add_a_method.py, line"),
        (leaves, r"merge method 'own': {field} calls sys.exit\(0\), which would end m2m as if all was done"),
        (refuses, "^weights of this size mean nothing"),
    ],
)
def test_what_a_user_s_method_does_wrong_is_said(
    field: str, function: Callable[..., Any], message: str, tmp_path: Path
) -> None:
    make_models(tmp_path, 2)
    functions = {"weights": lambda gram, settings: [1.0] * len(gram), field: function}
    register(
        GramSum(
            name="own", base="required", space="task vectors", source="", **functions,
            parameters=(number("weight", "model"),),
        )
    )  # fmt: skip
    with pytest.raises(M2MError, match=message.format(field=field)):
        merge(recipe("own", tmp_path, [0.5, 0.5]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    "given", [None, 5, ["a"], [None], ["1", "2"], {0: 1.0, 1: 2.0}, {1.0, 2.0}, [True, False], [10**400, 1]]
)
def test_weights_that_are_no_numbers_are_refused(given: object, tmp_path: Path) -> None:
    make_models(tmp_path, 2)
    register(halved(weights=lambda settings: given))
    with pytest.raises(RecipeError, match="'halved': weights must give a list of numbers, got"):
        merge(recipe("halved", tmp_path, [0.5, 0.5]), tmp_path / "out")
