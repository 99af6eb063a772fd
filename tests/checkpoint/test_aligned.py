"""One model stored in different ways: what is aligned unasked, what is asked for, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from m2m.checkpoint import Checkpoint, align, save
from m2m.checkpoint.aligned import Advice
from m2m.errors import CheckpointError

State = dict[str, Tensor]


def network(seed: int, prefix: str = "", layers: int = 2) -> State:
    random = torch.Generator().manual_seed(seed)
    state = {"embed_tokens.weight": torch.randn(6, 4, generator=random)}
    for layer in range(layers):
        state[f"layers.{layer}.attn.c_attn.weight"] = torch.randn(4, 4, generator=random)
        state[f"layers.{layer}.norm.weight"] = torch.randn(4, generator=random)
    return {prefix + name: tensor for name, tensor in state.items()}


def stored(path: Path, state: State, config: dict[str, Any] | None = None) -> Checkpoint:
    folder = save(state, path)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return Checkpoint(folder)


MASKS = {f"layers.{layer}.attn.bias": torch.tril(torch.ones(1, 1, 8, 8)) for layer in range(2)}
FREQUENCIES = {f"layers.{layer}.rotary_emb.inv_freq": torch.rand(2) for layer in range(2)}
COUNTER = {"norm.num_batches_tracked": torch.tensor(3)}


@pytest.mark.parametrize("buffers", [MASKS, FREQUENCIES, COUNTER], ids=["masks", "frequencies", "counter"])
@pytest.mark.parametrize("ours", [True, False], ids=["only the donor", "only the expert"])
def test_buffers_that_some_store_are_the_donors(tmp_path: Path, buffers: State, ours: bool) -> None:
    donor = stored(tmp_path / "donor", network(0) | (buffers if ours else {}))
    expert = stored(tmp_path / "expert", network(1) | ({} if ours else buffers))
    (model,), kept, notes = align(donor, [expert])
    assert model.tensors.keys() == donor.tensors.keys()
    assert kept == (set(buffers) if ours else set())
    assert len(notes) == 1
    assert "buffers" in notes[0]
    for name, tensor in network(1).items():
        assert torch.equal(model.read(name), tensor)


def test_a_counter_that_differs_is_the_donors(tmp_path: Path) -> None:
    donor = stored(tmp_path / "donor", network(0) | COUNTER)
    expert = stored(tmp_path / "expert", network(1) | {"norm.num_batches_tracked": torch.tensor(9)})
    assert align(donor, [expert]).kept == {"norm.num_batches_tracked"}


def test_a_bias_of_attention_is_a_weight(tmp_path: Path) -> None:
    bias = {"layers.0.attn.bias": torch.rand(4)}
    donor = stored(tmp_path / "donor", network(0) | bias)
    assert not align(donor, [stored(tmp_path / "with", network(1) | bias)]).kept
    with pytest.raises(CheckpointError, match=r"without: lacks tensors of .*'layers.0.attn.bias'\Z"):
        align(donor, [stored(tmp_path / "without", network(1))])


@pytest.mark.parametrize(("ours", "theirs"), [("", "transformer."), ("model.", ""), ("", "model.language.")])
def test_a_prefix_of_all_names_is_no_difference(tmp_path: Path, ours: str, theirs: str) -> None:
    donor = stored(tmp_path / "donor", network(0, ours))
    head = {"lm_head.weight": torch.rand(6, 4)}
    expert = stored(tmp_path / "expert", network(1, theirs))
    (model,), kept, notes = align(donor, [expert])
    assert not kept
    assert len(notes) == 1
    for name, tensor in network(1, ours).items():
        assert torch.equal(model.read(name), tensor)
    with pytest.raises(CheckpointError, match=r"has more than .*'lm_head.weight'"):
        align(donor, [stored(tmp_path / "more", network(1, theirs) | head)])


def test_another_model_is_not_taken_for_one_with_a_prefix(tmp_path: Path) -> None:
    donor = stored(tmp_path / "donor", network(0))
    other = stored(tmp_path / "other", network(1, "encoder.", layers=1) | network(2, "decoder.", layers=2))
    with pytest.raises(CheckpointError, match=r"has more than .*'encoder.embed_tokens.weight'"):
        align(donor, [other])


TIED = {"tie_word_embeddings": True}


@pytest.mark.parametrize("ours", [True, False], ids=["the donor stores both", "the expert stores both"])
def test_a_tied_head_stored_twice_is_one_tensor(tmp_path: Path, ours: bool) -> None:
    def state(seed: int, *, twice: bool) -> State:
        weights = network(seed)
        return weights | ({"lm_head.weight": weights["embed_tokens.weight"].clone()} if twice else {})

    donor = stored(tmp_path / "donor", state(0, twice=ours), TIED)
    expert = stored(tmp_path / "expert", state(1, twice=not ours), TIED)
    (model,), kept, _ = align(donor, [expert])
    assert not kept
    assert model.tensors.keys() == donor.tensors.keys()
    if ours:
        assert torch.equal(model.read("lm_head.weight"), network(1)["embed_tokens.weight"])


def test_a_head_of_its_own_is_not_dropped(tmp_path: Path) -> None:
    donor = stored(tmp_path / "donor", network(0), TIED)
    expert = stored(tmp_path / "expert", network(1) | {"lm_head.weight": torch.rand(6, 4)}, TIED)
    with pytest.raises(CheckpointError, match=r"has a head of its own, 'lm_head.weight', .*; say so"):
        align(donor, [expert], advice=Advice(extra="say so"))


def test_heads_for_more_tokens_stay_the_donors(tmp_path: Path) -> None:
    more = {"mtp.layers.0.proj.weight": torch.rand(4, 4)}
    donor = stored(tmp_path / "donor", network(0) | more)
    _, kept, notes = align(donor, [stored(tmp_path / "expert", network(1))])
    assert kept == set(more)
    assert "mtp.layers.0.proj.weight" in notes[0]
    trained = stored(tmp_path / "trained", network(2) | more)
    with pytest.raises(CheckpointError, match="lacks tensors"):  # one was trained with them: whose are kept?
        align(donor, [Checkpoint(tmp_path / "expert"), trained])


def test_what_is_asked_for_is_filled_in_or_left_out(tmp_path: Path) -> None:
    donor = stored(tmp_path / "donor", network(0, layers=3))
    short = stored(tmp_path / "short", network(1, layers=2))
    with pytest.raises(CheckpointError, match=r"'layers.2.attn.c_attn.weight'.*; say so"):
        align(donor, [short], advice=Advice(missing="say so"))
    (model,), kept, notes = align(donor, [short], fill_missing=True)
    assert not kept
    assert "filled in" in notes[0]
    assert torch.equal(model.read("layers.2.norm.weight"), donor.read("layers.2.norm.weight"))
    assert torch.equal(model.read("layers.1.norm.weight"), short.read("layers.1.norm.weight"))
    _, kept, notes = align(donor, [short], exclude=["layers.2.*"])
    assert kept == {"layers.2.attn.c_attn.weight", "layers.2.norm.weight"}
    assert not notes


def test_vocabularies_of_other_sizes_are_called_so(tmp_path: Path) -> None:
    donor = stored(tmp_path / "donor", network(0))
    grown = network(1) | {"embed_tokens.weight": torch.rand(8, 4)}
    with pytest.raises(CheckpointError, match="a row is a token, so the vocabularies differ"):
        align(donor, [stored(tmp_path / "grown", grown)])


def test_a_body_without_the_head_that_lies_first_is_found_by_its_other_names(tmp_path: Path) -> None:
    head = {"lm_head.weight": torch.ones(6, 4)}
    donor = stored(tmp_path / "donor", head | network(0, "model."))
    assert donor.names[0] == "lm_head.weight"
    expert = stored(tmp_path / "expert", network(1))
    with pytest.raises(CheckpointError, match=r"expert: lacks tensors of .*donor: 'lm_head.weight'$"):
        align(donor, [expert])
    (model,), _, notes = align(donor, [expert], fill_missing=True)
    assert "without 'model.'" in notes[0]
    for name, tensor in network(1, "model.").items():
        assert torch.equal(model.read(name), tensor)
    assert torch.equal(model.read("lm_head.weight"), head["lm_head.weight"])
