"""Hashes of a set-up's parts: one number that changes shows in its own part, and in no other."""

from __future__ import annotations

import torch
from helpers.linear_setup import linear_setup
from hypothesis import given
from hypothesis import strategies as st

from m2m.pipeline.run_folder import what_changed
from m2m.setups.protocol import Examples, Target, contents_of


@given(st.sampled_from("abc"), st.integers(0, 1), st.integers(0, 10**6))
def test_a_number_that_changes_shows_in_its_dataset_only(name: str, field: int, at: int) -> None:
    setup = linear_setup(seed=3)
    before = contents_of(setup)
    numbers = setup.datasets[name].tensors[field].view(-1)
    numbers[at % len(numbers)] = torch.nextafter(numbers[at % len(numbers)], torch.tensor(1e9).double())
    assert what_changed(before, contents_of(setup)) == f"dataset {name!r} has changed"


@given(st.sampled_from(["validation", "test"]), st.integers(0, 6))
def test_a_number_that_changes_shows_in_its_target_only(split: str, at: int) -> None:
    setup = linear_setup(seed=3)
    before = contents_of(setup)
    getattr(setup.targets["target"], split).tensors[1][at] += 1
    assert what_changed(before, contents_of(setup)) == "target 'target' has changed"


def test_types_and_shapes_are_part_of_it() -> None:
    def hashes(tensor: torch.Tensor) -> str:
        setup = linear_setup(seed=3)
        setup.targets = {"t": Target(Examples((tensor,)), Examples((tensor,)))}
        return contents_of(setup)["target t"]

    zeros = [
        torch.zeros(4, 2),
        torch.zeros(2, 4),
        torch.zeros(4, 2, dtype=torch.int32),
        torch.zeros(4, 2).bfloat16(),
    ]
    assert len({hashes(tensor) for tensor in zeros}) == 4
    strided = torch.zeros(2, 4).T
    assert hashes(strided) == hashes(torch.zeros(4, 2))


def test_what_is_new_and_what_is_gone_has_changed() -> None:
    one, other = {"dataset a": "1", "version": "1"}, {"dataset b": "1", "version": "2"}
    assert what_changed(one, other) == "dataset 'a' has changed, dataset 'b' has changed"
    assert what_changed(one, one) == ""
    assert what_changed(one, {**one, "version": "2"}) == "its base model or its metrics have changed"
