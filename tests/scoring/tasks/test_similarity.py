from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.linear_setup import LinearSetup, linear_setup
from torch import Tensor, nn

from m2m.errors import InputError
from m2m.scoring import most_similar, similarities
from m2m.scoring.tasks import targets
from m2m.setups.protocol import Batch, Examples


class PlainEmbedding(LinearSetup):
    def embed(self, model: nn.Module, batch: Batch) -> Tensor:
        assert torch.is_inference_mode_enabled()
        return batch[0]


def around(*centre: float) -> Examples:
    x = torch.tensor(centre).double() + torch.tensor([[0.5], [-0.5]])
    return Examples((x, torch.zeros(2)))


def setup_of(**centres: tuple[float, float]) -> PlainEmbedding:
    return PlainEmbedding({name: around(*centre) for name, centre in centres.items()})


def test_similarity_is_the_cosine_of_mean_embeddings() -> None:
    setup = setup_of(same=(2, 0), across=(0, 3), against=(-1, 0), between=(1, 1))
    found = similarities(setup, setup.build(), setup.datasets, around(5, 0))
    wanted = {"same": 1.0, "across": 0.0, "against": -1.0, "between": 2**-0.5}
    assert found == pytest.approx(wanted, abs=1e-15)


def test_datasets_at_least_as_similar_as_the_mean_are_picked() -> None:
    setup = setup_of(same=(2, 0), across=(0, 3), against=(-1, 0), between=(1, 1))
    assert most_similar(setup, setup.build(), setup.datasets, around(5, 0)) == ["same", "between"]


def test_equal_similarities_pick_all() -> None:
    setup = setup_of(a=(0.1, 0.7), b=(0.1, 0.7), c=(0.1, 0.7))
    assert most_similar(setup, setup.build(), setup.datasets, around(0.3, 0.2)) == ["a", "b", "c"]


def test_what_has_no_direction_is_like_nothing() -> None:
    setup = setup_of(a=(0, 0), b=(1, 0))
    assert similarities(setup, setup.build(), setup.datasets, around(5, 0)) == {"a": 0.0, "b": 1.0}


@pytest.mark.parametrize(("centre", "who"), [((1, 0), "the target"), ((torch.inf, 0), "a")])
def test_an_embedding_that_is_not_finite_is_refused(centre: tuple[float, float], who: str) -> None:
    setup = setup_of(a=centre, b=(1, 0))
    with pytest.raises(InputError, match=f"embedding of {who} is not finite"):
        similarities(setup, setup.build(), setup.datasets, around(torch.nan if who != "a" else 5, 0))


def test_a_large_dataset_is_sampled_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = linear_setup(seed=1, examples=9)
    plain = PlainEmbedding(setup.datasets, setup.targets)
    target = setup.targets["target"].validation
    monkeypatch.setattr(targets, "MOST_EXAMPLES", 4)
    got = similarities(plain, plain.build(), plain.datasets, target)
    third = {name: Examples(tuple(f[::3] for f in data.tensors)) for name, data in plain.datasets.items()}
    monkeypatch.setattr(targets, "MOST_EXAMPLES", 512)
    assert got == similarities(
        replace(plain, datasets=third), plain.build(), third, Examples(tuple(f[::2] for f in target.tensors))
    )


def test_the_base_model_embeds() -> None:
    setup = linear_setup(seed=2)
    model = setup.build()
    model.load_state_dict(setup.base_state(Path()))
    picked = most_similar(setup, model, setup.datasets, setup.datasets["b"])
    assert "b" in picked
