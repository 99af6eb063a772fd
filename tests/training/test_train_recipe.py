from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2m.errors import ConfigError
from m2m.mixture import Mixture
from m2m.training import TrainRecipe

GOOD: dict[str, Any] = {"steps": 10, "batch": 4, "learning_rate": 0.1}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("steps", 0, "train.steps must be a whole number of at least 1, got 0"),
        ("steps", 2.0, "train.steps must be a whole number"),
        ("batch", True, "train.batch must be a whole number"),
        ("warmup", -1, "train.warmup must be a whole number of at least 0, got -1"),
        ("warmup", 11, r"train.warmup must be at most train.steps \(10\), got 11"),
        ("learning_rate", 0, "train.learning_rate must be above 0 and finite, got 0"),
        ("learning_rate", math.nan, "train.learning_rate must be above 0"),
        ("learning_rate", math.inf, "train.learning_rate must be above 0 and finite"),
        ("learning_rate", "fast", "train.learning_rate must be a number, got 'fast'"),
        ("weight_decay", -0.1, "train.weight_decay must be at least 0 and finite, got -0.1"),
        ("momentum", 1.0, "train.momentum must be at least 0 and below 1, got 1.0"),
        ("momentum", 0.9, "train.momentum is SGD's"),
        ("clip_norm", 0.0, "train.clip_norm must be above 0"),
        ("betas", (0.9, 1.0), r"train.betas must be two numbers in \[0, 1\)"),
        ("betas", (0.9,), "train.betas must be two numbers"),
        ("optimizer", "adam", "train.optimizer must be one of adamw, sgd, got 'adam'"),
        ("schedule", "step", "train.schedule must be one of constant, cosine, linear"),
        ("sampling", "random", "train.sampling must be one of balanced, proportional"),
        ("save_moments", 1, "train.save_moments must be true or false, got 1"),
        ("horizon", "long", "train.horizon must be one of matched, pooled"),
    ],
)
def test_a_bad_value_is_named_with_what_was_wanted(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainRecipe(**GOOD | {key: value})


def test_the_pooled_horizon_counts_members_and_leaves_singletons_alone() -> None:
    pair, single = Mixture.subset("abc", "ac"), Mixture.subset("abc", "b")
    assert TrainRecipe(**GOOD).total_steps(pair) == 10
    assert TrainRecipe(**GOOD, horizon="pooled").total_steps(pair) == 20
    assert TrainRecipe(**GOOD, horizon="pooled").total_steps(single) == 10


@given(
    st.sampled_from(["constant", "cosine", "linear"]),
    st.integers(0, 30),
    st.integers(1, 30),
    st.integers(1, 3),
)
def test_the_learning_rate_rises_to_its_peak_then_never_rises(
    schedule: Any, warmup: int, rest: int, factor: int
) -> None:
    recipe = TrainRecipe(warmup + rest, 1, 0.25, schedule=schedule, warmup=warmup)
    total = recipe.steps * factor
    rates = [recipe.learning_rate_at(step, total) for step in range(total)]
    assert all(0 < rate <= 0.25 for rate in rates)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert rates[warmup] == 0.25


def test_cosine_and_line_at_half_way() -> None:
    for schedule in ("cosine", "linear"):
        recipe = TrainRecipe(10, 1, 0.5, schedule=schedule, warmup=4)
        assert recipe.learning_rate_at(7, 10) == pytest.approx(0.25, rel=1e-15)
        assert recipe.learning_rate_at(1, 10) == 0.25


def test_moments_are_adams_and_decide_nothing() -> None:
    with pytest.raises(ConfigError, match="keeps AdamW's second moments; SGD has none"):
        TrainRecipe(**GOOD, optimizer="sgd", save_moments=True)
    kept, plain = TrainRecipe(**GOOD, save_moments=True), TrainRecipe(**GOOD)
    assert kept.deciding == plain.deciding
    assert "save_moments" not in plain.deciding
    assert TrainRecipe(**plain.deciding) == plain


def test_a_temperature_goes_with_its_sampling_and_old_recipes_stay_what_they_are() -> None:
    hot = TrainRecipe(**GOOD, sampling="temperature", temperature=2.0, count="tokens")
    assert TrainRecipe(**hot.deciding) == hot
    assert not {"temperature", "count"} & TrainRecipe(**GOOD).deciding.keys()
    for options in ({"sampling": "temperature"}, {"temperature": 2.0}):
        with pytest.raises(ConfigError, match="want each other"):
            TrainRecipe(**GOOD, **options)
    with pytest.raises(ConfigError, match=r"train.temperature must be above 0"):
        TrainRecipe(**GOOD, sampling="temperature", temperature=0.0)
    with pytest.raises(ConfigError, match=r"train.count must be one of examples, tokens"):
        TrainRecipe(**GOOD, count="letters")
