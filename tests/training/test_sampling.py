"""The sampler's laws: exact shares at every step, epochs without repeats, undisturbed streams."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from m2m.errors import ConfigError, DataError, MixtureError
from m2m.mixture import Mixture
from m2m.training import TrainRecipe
from m2m.training.shares import exposures, sampled_mixture
from m2m.training.training_loop import MixtureSampler, take_turns

SIZES = {"a": 5, "b": 7, "c": 3}


def drawn(mixture: Mixture, batch: int, seed: int, steps: int) -> dict[str, list[int]]:
    stream: dict[str, list[int]] = {name: [] for name in mixture.members}
    for picked in islice(MixtureSampler(mixture, SIZES, batch, seed), steps):
        for name, index in picked.items():
            stream[name] += index.tolist()
    return stream


@given(st.lists(st.floats(1e-6, 1.0), min_size=2, max_size=7), st.integers(1, 120))
def test_nobody_is_ever_a_whole_slot_off(weights: list[float], slots: int) -> None:
    total = sum(map(Fraction, weights))
    bound = 1 - Fraction(1, 2 * len(weights) - 2)
    counts: Counter[int] = Counter()
    for k, turn in enumerate(islice(take_turns(weights), slots), start=1):
        counts[turn] += 1
        for i, weight in enumerate(weights):
            assert abs(Fraction(weight) / total * k - counts[i]) <= bound


@given(st.integers(1, 6), st.integers(1, 4))
def test_equal_shares_are_equal_in_every_batch_they_divide(members: int, each: int) -> None:
    names = [str(i) for i in range(members)]
    sampler = MixtureSampler(Mixture.subset(names, names), dict.fromkeys(names, 9), members * each, seed=0)
    for picked in islice(sampler, 5):
        assert {name: len(index) for name, index in picked.items()} == dict.fromkeys(names, each)


@given(st.integers(0, 2**31), st.integers(1, 9))
def test_a_stream_depends_on_its_own_dataset_only(seed: int, batch: int) -> None:
    alone = drawn(Mixture.subset("abc", "b"), batch, seed, 12)["b"]
    pooled = drawn(Mixture.normalised({"a": 0.2, "b": 0.5, "c": 0.3}), batch, seed, 12)["b"]
    assert pooled == alone[: len(pooled)]
    assert len(pooled) >= 12 * batch // 2 - 1


def test_each_epoch_shows_every_example_once_in_a_new_order() -> None:
    stream = drawn(Mixture.subset("abc", "b"), batch=7, seed=3, steps=4)["b"]
    epochs = [tuple(stream[start : start + 7]) for start in range(0, 28, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len(set(epochs)) == 4


def test_seeds_and_names_give_different_orders() -> None:
    orders = {
        tuple(next(iter(MixtureSampler(Mixture.subset([name], [name]), {name: 20}, 20, seed)))[name].tolist())
        for name in "ab"
        for seed in (0, 1)
    }
    assert len(orders) == 4


def test_walking_twice_gives_the_same() -> None:
    sampler = MixtureSampler(Mixture.subset("abc", "ac"), SIZES, batch=3, seed=5)
    first, second = (list(islice(sampler, 6)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def recipe(**options: Any) -> TrainRecipe:
    return TrainRecipe(steps=10, batch=6, learning_rate=0.1, **options)


def test_proportional_sampling_weighs_by_size() -> None:
    pooled = sampled_mixture(Mixture.subset("abc", "ab"), SIZES, recipe(sampling="proportional"))
    assert pooled.weights == (5 / 12, 7 / 12, 0.0)
    assert sampled_mixture(pooled, SIZES, recipe()) is pooled


LENGTHS = {"a": 10.0, "b": 40.0, "c": 25.0}
shares = st.lists(st.floats(0.1, 1), min_size=3, max_size=3)


def by_tokens(drawn: Mixture) -> list[float]:
    """Shares of the tokens that are drawn, in the order of the names."""
    tokens = [share * LENGTHS[name] for name, share in drawn.shares.items()]
    return [each / sum(tokens) for each in tokens]


@given(weights=shares, temperature=st.floats(0.2, 50))
def test_a_temperature_weighs_by_a_root_of_the_size(weights: list[float], temperature: float) -> None:
    mixture = Mixture.normalised(dict(zip("abc", weights, strict=True)))
    options = {"sampling": "temperature", "temperature": temperature}
    drawn = sampled_mixture(mixture, SIZES, recipe(**options))
    raised = [mixture.shares[name] * SIZES[name] ** (1 / temperature) for name in "abc"]
    assert list(drawn.weights) == pytest.approx([each / sum(raised) for each in raised], rel=1e-12)
    # The same, where shares and sizes are of tokens.
    counted = sampled_mixture(mixture, SIZES, recipe(**options, count="tokens"), LENGTHS)
    raised = [mixture.shares[name] * (SIZES[name] * LENGTHS[name]) ** (1 / temperature) for name in "abc"]
    assert by_tokens(counted) == pytest.approx([each / sum(raised) for each in raised], rel=1e-12)


@given(weights=shares)
def test_temperature_one_is_proportional_and_a_high_one_balanced(weights: list[float]) -> None:
    mixture = Mixture.normalised(dict(zip("abc", weights, strict=True)))
    one = sampled_mixture(mixture, SIZES, recipe(sampling="temperature", temperature=1.0))
    assert one == sampled_mixture(mixture, SIZES, recipe(sampling="proportional"))
    hot = sampled_mixture(mixture, SIZES, recipe(sampling="temperature", temperature=1e12))
    assert hot.weights == pytest.approx(mixture.weights, rel=1e-9)


@given(weights=shares)
def test_shares_of_tokens_are_the_mixtures_and_concatenated_files_are_the_same_either_way(
    weights: list[float],
) -> None:
    mixture = Mixture.normalised(dict(zip("abc", weights, strict=True)))
    drawn = sampled_mixture(mixture, SIZES, recipe(count="tokens"), LENGTHS)
    assert by_tokens(drawn) == pytest.approx(mixture.weights, rel=1e-12)
    both = [
        sampled_mixture(mixture, SIZES, recipe(sampling="proportional", count=count), LENGTHS).weights
        for count in ("examples", "tokens")
    ]
    assert both[0] == pytest.approx(both[1], rel=1e-12)


def test_a_single_dataset_is_drawn_alone_whatever_the_sampling() -> None:
    single = Mixture.subset("abc", "b")
    for options in ({"sampling": "temperature", "temperature": 3.0}, {"count": "tokens"}):
        assert sampled_mixture(single, SIZES, recipe(**options), LENGTHS).weights == single.weights


def test_tokens_that_are_not_known_are_not_counted() -> None:
    with pytest.raises(ConfigError, match=r'train.count = "tokens" wants to know how many tokens'):
        sampled_mixture(Mixture.subset("abc", "ab"), SIZES, recipe(count="tokens"))


def test_exposure_is_what_the_sampler_draws() -> None:
    mixture = Mixture.normalised({"a": 1.0, "b": 2.0, "c": 0.0})
    options = recipe(count="tokens")
    seen = exposures(mixture, SIZES, options, LENGTHS)
    sampler = MixtureSampler(sampled_mixture(mixture, SIZES, options, LENGTHS), SIZES, options.batch, seed=0)
    drawn = dict.fromkeys("ab", 0)
    for picked in islice(sampler, options.steps):
        for name, numbers in picked.items():
            drawn[name] += len(numbers)
    assert set(seen) == {"a", "b"}
    for name, exposure in seen.items():
        assert abs(exposure.epochs * SIZES[name] - drawn[name]) < 1
        assert exposure.token_share == pytest.approx(mixture.shares[name], rel=1e-12)
    assert exposures(mixture, SIZES, recipe(), None)["a"].token_share is None


def test_bad_input_is_refused() -> None:
    mixture = Mixture.subset("ab", "ab")
    with pytest.raises(ConfigError, match="at least one example, got 0"):
        MixtureSampler(mixture, SIZES, batch=0, seed=0)
    with pytest.raises(MixtureError, match=r"draws from \['b'\]; there are \['a'\]"):
        MixtureSampler(mixture, {"a": 3}, batch=1, seed=0)
    with pytest.raises(DataError, match=r"\['b'\], which have no examples"):
        MixtureSampler(mixture, {"a": 3, "b": 0}, batch=1, seed=0)
