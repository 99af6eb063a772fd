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


def to(setup: PlainEmbedding, *centre: float) -> dict[str, float]:
    return similarities(setup, setup.build, setup.datasets, {"t": around(*centre)})["t"]


def test_similarity_is_the_cosine_of_mean_embeddings() -> None:
    setup = setup_of(same=(2, 0), across=(0, 3), against=(-1, 0), between=(1, 1))
    wanted = {"same": 1.0, "across": 0.0, "against": -1.0, "between": 2**-0.5}
    assert to(setup, 5, 0) == pytest.approx(wanted, abs=1e-15)


def test_every_target_is_compared_as_if_alone() -> None:
    setup = setup_of(a=(2, 0), b=(1, 1))
    both = similarities(setup, setup.build, setup.datasets, {"t": around(5, 0), "u": around(0, 3)})
    assert both == {"t": to(setup, 5, 0), "u": to(setup, 0, 3)}


def test_datasets_at_least_as_similar_as_the_mean_are_picked() -> None:
    setup = setup_of(same=(2, 0), across=(0, 3), against=(-1, 0), between=(1, 1))
    assert most_similar(to(setup, 5, 0)) == ["same", "between"]


def test_equal_similarities_pick_all() -> None:
    setup = setup_of(a=(0.1, 0.7), b=(0.1, 0.7), c=(0.1, 0.7))
    assert most_similar(to(setup, 0.3, 0.2)) == ["a", "b", "c"]


def test_what_has_no_direction_is_like_nothing() -> None:
    assert to(setup_of(a=(0, 0), b=(1, 0)), 5, 0) == {"a": 0.0, "b": 1.0}


@pytest.mark.parametrize(("centre", "who"), [((1, 0), "target t"), ((torch.inf, 0), "dataset a")])
def test_an_embedding_that_is_not_finite_is_refused(centre: tuple[float, float], who: str) -> None:
    with pytest.raises(InputError, match=f"embedding of {who} is not finite"):
        to(setup_of(a=centre, b=(1, 0)), torch.nan if who == "target t" else 5, 0)


def test_a_large_dataset_is_sampled_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = linear_setup(seed=1, examples=9)
    plain = PlainEmbedding(setup.datasets, setup.targets)
    target = setup.targets["target"].validation
    second = Examples(tuple(f[::2] for f in target.tensors))
    monkeypatch.setattr(targets, "MOST_EXAMPLES", 4)
    got = similarities(plain, plain.build, plain.datasets, {"target": target})
    third = {name: Examples(tuple(f[::3] for f in data.tensors)) for name, data in plain.datasets.items()}
    monkeypatch.setattr(targets, "MOST_EXAMPLES", 64)
    assert got == similarities(replace(plain, datasets=third), plain.build, third, {"target": second})


def test_the_base_model_embeds() -> None:
    setup = linear_setup(seed=2)
    model = setup.build()
    model.load_state_dict(setup.base_state(Path()))
    found = similarities(setup, lambda: model, setup.datasets, {"of b": setup.datasets["b"]})
    assert "b" in most_similar(found["of b"])


def test_what_was_embedded_is_kept_and_told_of() -> None:
    setup, kept, said = setup_of(a=(2, 0), b=(1, 1)), {}, []
    wanted = similarities(setup, setup.build, setup.datasets, {"t": around(5, 0)})

    def tell(done: int, total: int, what: str) -> None:
        said.append((done, total))

    assert similarities(setup, setup.build, setup.datasets, {"t": around(5, 0)}, kept, tell) == wanted
    assert said == [(2, 6), (4, 6), (6, 6)]
    assert list(kept) == ["target t", "dataset a", "dataset b"]

    def nothing() -> nn.Module:
        raise AssertionError("all is kept, so no model is made")

    assert similarities(setup, nothing, setup.datasets, {"t": around(5, 0)}, kept, tell) == wanted
