"""Candidates in one live module: the bits of merging first; every misfit is named, nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.linear_setup import linear_setup
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from m2m import ops
from m2m.errors import CheckpointError, MixtureError
from m2m.mixture import Mixture, all_subsets, weight_matrix
from m2m.scoring import LiveModel, Scores, TargetScorer, score_candidates, score_model, score_resident
from m2m.setups.protocol import load_state
from m2m.training import TrainRecipe, fine_tune

State = dict[str, Tensor]


class Net(nn.Module):
    """A tied pair, a channels-last weight, a scalar, an integer and a bool buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 4, bias=False)
        self.head = nn.Linear(3, 4, bias=False)
        self.head.weight = self.inner.weight
        self.conv = nn.Conv2d(2, 3, (2, 2)).to(memory_format=torch.channels_last)
        self.gain = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("steps", torch.tensor([3, 4]))
        self.register_buffer("mask", torch.tensor(True))


def expert(seed: int) -> State:
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: value.clone(memory_format=torch.contiguous_format) for name, value in Net().state_dict().items()
    }
    for name, value in state.items():
        if value.is_floating_point():
            state[name] = torch.randn(value.shape, generator=generator)
    state["head.weight"] = state["inner.weight"]
    return state


BASE, EXPERTS = expert(0), [expert(seed) for seed in (1, 2, 3)]


@given(st.lists(st.floats(-2, 2, width=32), min_size=3, max_size=3))
def test_the_live_weights_are_bitwise_the_weighted_sum(row: list[float]) -> None:
    model = Net()
    LiveModel(model, BASE, EXPERTS).merge([row])
    for name, got in model.state_dict().items():
        if got.is_floating_point():
            assert torch.equal(got, ops.weighted_sum([e[name] for e in EXPERTS], [row])[0]), name
        else:
            assert torch.equal(got, BASE[name]), name
    assert model.head.weight is model.inner.weight
    assert model.conv.weight.is_contiguous(memory_format=torch.channels_last)


@given(st.lists(st.lists(st.floats(-2, 2, width=32), min_size=3, max_size=3), min_size=1, max_size=4))
def test_candidates_merged_ahead_are_those_merged_one_by_one(rows: list[list[float]]) -> None:
    one, several = Net(), Net()
    single, live = LiveModel(one, BASE, EXPERTS), LiveModel(several, BASE, EXPERTS)
    places = {name: value.data_ptr() for name, value in several.state_dict().items()}
    live.merge_ahead(rows)
    for k, row in [*enumerate(rows), (0, rows[0])]:
        single.merge([row])
        live.show(k)
        for name, got in several.state_dict().items():
            assert torch.equal(got, one.state_dict()[name]), name
            assert got.stride() == one.state_dict()[name].stride()
        assert several.head.weight is several.inner.weight
    live.restore()
    assert {name: value.data_ptr() for name, value in several.state_dict().items()} == places
    assert all(torch.equal(value, BASE[name]) for name, value in several.state_dict().items())


def test_two_tied_objects_are_shown_together() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(2, 2, bias=False)
            self.register_buffer("other", self.one.weight.detach())

    first, second = ({"one.weight": torch.full((2, 2), v)} for v in (1.0, 3.0))
    model = Twice()
    live = LiveModel(model, first, [first, second])
    live.merge_ahead([[0.5, 0.5]])
    live.show(0)
    assert model.other.tolist() == model.one.weight.tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_one_hot_is_the_expert_and_restore_is_the_base() -> None:
    model = Net()
    live = LiveModel(model, BASE, EXPERTS)
    for n, wanted in enumerate(EXPERTS):
        live.merge(np.eye(3)[[n]])
        assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())
    live.restore()
    assert all(torch.equal(value, BASE[name]) for name, value in model.state_dict().items())


def test_a_tied_tensor_may_be_stored_under_one_name() -> None:
    base, *experts = [{name: e[name] for name in e if name != "inner.weight"} for e in (BASE, *EXPERTS)]
    model = Net()
    LiveModel(model, base, experts).merge([[0.0, 1.0, 0.0]])
    assert torch.equal(model.inner.weight, EXPERTS[1]["inner.weight"])


def test_half_precision_models_stay_in_their_dtype() -> None:
    halves = [
        {k: v.bfloat16() if v.is_floating_point() else v for k, v in e.items()} for e in (BASE, *EXPERTS)
    ]
    model = Net().bfloat16()
    LiveModel(model, halves[0], halves[1:]).merge([[0.3, 0.3, 0.4]])
    exact = sum(w * h["conv.weight"].double() for w, h in zip([0.3, 0.3, 0.4], halves[1:], strict=True))
    assert model.conv.weight.dtype is torch.bfloat16
    assert torch.equal(model.conv.weight, exact.bfloat16()), "rounded once"


def test_floats_of_other_types_are_rounded_as_the_base_stores_them_and_then_loaded() -> None:
    wide = {k: v.double() if k == "gain" else v for k, v in BASE.items()}
    experts = [EXPERTS[0], {k: v.bfloat16() if k == "conv.bias" else v for k, v in EXPERTS[1].items()}]
    narrow = {k: v.bfloat16() if k == "inner.weight" else v for k, v in wide.items()}
    narrow["head.weight"] = narrow["inner.weight"]
    model = Net()
    LiveModel(model, narrow, experts).merge([[0.25, 0.5]])
    for name in ("gain", "conv.bias", "inner.weight"):
        exact = 0.25 * experts[0][name].double() + 0.5 * experts[1][name].double()
        stored = exact.to(torch.float32).to(narrow[name].dtype)
        assert torch.equal(model.state_dict()[name], stored.to(torch.float32)), name


def changed(state: State, name: str, value: Any) -> State:
    return state | {name: value}


NAN = EXPERTS[1]["conv.weight"].clone()
NAN[2, 1, 0, 1] = float("nan")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            changed(EXPERTS[1], "gain", torch.ones(2)),
            r"expert 1, tensor gain: got \[2\] torch.float32, wanted \[\]",
        ),
        (
            changed(EXPERTS[1], "gain", torch.tensor(1)),
            r"expert 1, tensor gain: got \[\] torch.int64, wanted \[\] torch.float32",
        ),
        (
            changed(EXPERTS[1], "conv.weight", NAN),
            r"expert 1, tensor conv.weight: element \[2, 1, 0, 1\] is nan",
        ),
        (
            changed(EXPERTS[1], "gain", torch.tensor(-torch.inf)),
            r"expert 1, tensor gain: element \[\] is -inf",
        ),
        (
            changed(EXPERTS[1], "steps", torch.tensor([3, 5])),
            r"expert 1, tensor steps: torch.int64 is never averaged",
        ),
        (
            changed(EXPERTS[1], "mask", torch.tensor(False)),
            r"expert 1, tensor mask: torch.bool is never averaged",
        ),
        (
            changed(EXPERTS[1], "head.weight", torch.ones(4, 3)),
            "expert 1: inner.weight and head.weight are tied",
        ),
        (
            changed(EXPERTS[1], "extra", torch.ones(1)),
            r"expert 1 is not like the base: missing \[\], unknown \['extra'\]",
        ),
        (
            {"gain": EXPERTS[1]["gain"]},
            r"expert 1 is not like the base: missing \['conv.bias', 'conv.weight', ",
        ),
    ],
)
def test_a_misfit_is_named_and_nothing_is_written(bad: State, message: str) -> None:
    model = Net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        score_candidates(model, BASE, [EXPERTS[0], bad], [[0.5, 0.5]], [])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_base_that_does_not_fit_the_module_is_named() -> None:
    base, *experts = [{k: v.int() if k == "gain" else v for k, v in e.items()} for e in (BASE, *EXPERTS)]
    with pytest.raises(
        CheckpointError, match=r"base model, tensor gain: got \[\] torch.int32, wanted \[\] torch.f"
    ):
        LiveModel(Net(), base, experts)
    short = {name: value for name, value in BASE.items() if name != "conv.bias"}
    with pytest.raises(
        CheckpointError, match=r"does not fit the module: missing \['conv.bias'\], unknown \[\]"
    ):
        LiveModel(Net(), short, [short])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([[0.5, 0.5]], r"weights must be \[M, 3\], a row a candidate; got shape \[1, 2\]"),
        ([0.5, 0.5, 0.0], r"got shape \[3\]"),
        ([[1, 0, 0], [0, np.nan, 1]], r"weights of candidate 1 must be finite, got \[0.0, nan, 1.0\]"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights: Any, message: str) -> None:
    with pytest.raises(MixtureError, match=message):
        score_candidates(Net(), BASE, EXPERTS, weights, [])


def test_scores_are_those_of_merging_first() -> None:
    setup = linear_setup(seed=1)
    base = setup.base_state(Path())
    recipe = TrainRecipe(5, 4, 0.05)
    experts = [fine_tune(setup, base, Mixture.subset("abc", name), recipe, seed=0) for name in "abc"]
    weights = weight_matrix(all_subsets("abc"))
    scorers = [TargetScorer(setup, "target", split) for split in ("validation", "test")]
    model = setup.build()
    table = score_resident(model, base, experts, weights, scorers)
    for row, scores in zip(weights, table, strict=True):
        merged = {
            name: ops.weighted_sum([e[name] for e in experts], [row])[0] if name != "calls" else base[name]
            for name in base
        }
        for got, wanted in zip(scores, score_model(load_state(setup.build(), merged), scorers), strict=True):
            assert np.array_equal(got.values["loss"], wanted.values["loss"])
    assert torch.equal(model.get_parameter("theta"), base["theta"]), "the module ends as the base model"


def test_the_walk_is_lazy_and_stops_clean() -> None:
    model, seen = Net(), []

    class Gain:
        task, split, version, metrics = "gain", "test", "1", {"gain": True}

        def __call__(self, module: nn.Module) -> Scores:
            seen.append(module.get_parameter("gain").item())
            return Scores({"gain": np.array(seen[-1:])})

    walk = score_candidates(model, BASE, EXPERTS, np.eye(3), [Gain()], threads=1)
    assert seen == []
    number, [scores] = next(walk)
    assert (number, scores.mean("gain")) == (0, float(EXPERTS[0]["gain"]))
    walk.close()  # type: ignore[attr-defined]
    assert torch.equal(model.gain, BASE["gain"])
    assert len(seen) == 1


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_the_walk_does_not_depend_on_how_many_are_merged_at_once(ahead: int) -> None:
    class Gain:
        task, split, version, metrics = "gain", "test", "1", {"gain": True}

        def __call__(self, module: nn.Module) -> Scores:
            return Scores({"gain": np.array([module.get_parameter("gain").item()])})

    rows = np.random.default_rng(0).dirichlet(np.ones(3), size=5)
    walk = score_candidates(Net(), BASE, EXPERTS, rows, [Gain()], ahead=ahead)
    wanted = ops.weighted_sum([e["gain"] for e in EXPERTS], rows)
    assert {m: scores.mean("gain") for m, [scores] in walk} == dict(enumerate(wanted.tolist()))
