"""Ratios: quadratics found exactly, roughness and regrets by hand, choices compared by example."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.validate.choices import of_transfer
from analysis.validate.evidence import among_the_best
from analysis.validate.grid import Grid, comparable, pooled
from analysis.validate.ratios import (
    LINE,
    Ratios,
    TrainedChoice,
    mixtures_of,
    of_choices,
    of_ratios,
    scheffe,
    smoothness,
)
from m2m.mixture import Mixture, all_subsets


@given(n=st.integers(2, 5), seed=st.integers(0, 99))
def test_a_quadratic_is_found_exactly(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    b, c, d = rng.standard_normal((n, n)), rng.standard_normal(n), rng.standard_normal()
    weights, asked = rng.dirichlet(np.ones(n), 40), rng.dirichlet(np.ones(n), 9)

    def truth(x: np.ndarray) -> np.ndarray:
        return np.einsum("mi,ij,mj->m", x, b, x) + x @ c + d

    # Linear and constant terms are quadratic where weights sum to one. 40 rows for at most 15 coefficients.
    assert scheffe(weights, truth(weights), asked) == pytest.approx(truth(asked), abs=1e-8)


def test_roughness_is_that_of_second_differences() -> None:
    places = np.linspace(0, 1, 9)
    # (x+h)² − 2x² + (x−h)² = 2h², whatever line is added; on two targets 5 and 20 times as much: 10.
    curves = np.stack([places**2, places**2])
    found = smoothness(curves + 3 * places + 1, curves * np.array([[5.0], [20.0]]))
    assert found.value == pytest.approx(0.1)
    assert found.low == pytest.approx(0.1)
    straight = smoothness(np.ones((2, 9)), curves)
    assert straight.value is None
    assert straight.reason == "on some target a curve has no second differences"


def test_smoother_by_half() -> None:
    names = ("a", "b")
    line = mixtures_of(names, np.array([[share, 1 - share] for share in LINE]))
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((4, len(LINE)))
    noise = np.exp(rng.normal(scale=0.05, size=(4, len(LINE))))
    drawn = mixtures_of(names, rng.dirichlet(np.ones(2), 12))
    scores = rng.standard_normal((4, 12))
    merged = truth / 2 * noise + 3
    found = of_ratios(Ratios(line, merged, truth, drawn, 2 * scores + 1, scores), 0)
    assert found["smoother"].value == pytest.approx(0.5, rel=0.1)
    assert found["smoother"].low < 0.5 < found["smoother"].high
    assert found["weights_work"].value == pytest.approx(1)


def test_ranks_within_targets() -> None:
    x = np.array([[1.0, 2, 3, 4], [40, 30, 20, 10]])
    assert pooled("spearman", x, np.exp(x)) == pytest.approx(1)
    assert pooled("spearman", x, -x) == pytest.approx(-1)


def grid(merged: np.ndarray, trained: np.ndarray) -> Grid:
    return Grid(("t", "u"), tuple(all_subsets("abc")), np.zeros(2), merged, trained)


def test_a_small_model_chooses_for_a_large_one() -> None:
    truth = np.array([[0.0, 1, 2, 3, 4, 5, 6], [6.0, 5, 4, 3, 2, 1, 0]])
    small, large = grid(truth[:, ::-1], truth), grid(truth, truth)
    assert comparable(small, large)
    # Chance costs 3; the small model's choices are right for neither target: 6 / 3.
    assert of_transfer(small, large, 0).value == pytest.approx(2)
    again = of_transfer(grid(truth[:1].repeat(2, axis=0), truth), large, 0)
    assert again.value == pytest.approx((0 + 6 / 3) / 2)


def test_order_among_the_best() -> None:
    rng = np.random.default_rng(3)
    few = among_the_best(*rng.standard_normal((2, 2, 11)))
    assert few.value is None
    assert few.reason == "the best quarter of 11 mixtures is 3: four are needed"
    truth = rng.standard_normal((2, 20))
    best = np.argsort(-truth, axis=1)[:, :5]
    merged = truth.copy()
    np.put_along_axis(merged[:1], best[:1], -np.take_along_axis(truth[:1], best[:1], axis=1), axis=1)
    both = among_the_best(merged, truth)
    assert both.value == pytest.approx((-1 + 1) / 2)
    assert both.n == 5
    perfect = among_the_best(truth, truth)
    assert (perfect.value, perfect.low) == (1, None)  # five points in order are no certainty


def choice(label: str, scores: list[float]) -> TrainedChoice:
    return TrainedChoice(Mixture.subset(("a", "b", "c", "d"), label), np.array(scores))


def test_choices_are_compared_example_by_example() -> None:
    choices = {
        "found": choice("ab", [1.0, 2, 3]),
        "uniform": choice("abcd", [0.0, 0, 1]),
        "single": choice("a", [2.0, 3, 5]),
        "best_seed": choice("ab", [1.0, 2, 3]),
        "regressed": choice("cd", [0.0, 1, 1]),
        "kept": choice("ab", [1.0, 1, 1]),
        "anew": choice("ac", [1.0, 2, 1]),
    }
    found = of_choices(choices)
    assert found["beats_uniform_ratio"].value == pytest.approx((1 + 2 + 2) / 3)
    assert found["beats_single"].value == pytest.approx(-(1 + 1 + 2) / 3)
    assert "the same mixture, a+b" in found["regression"].reason
    assert found["static_enough"].value == pytest.approx((0 + 1 + 0) / 3 - 5 / 3 / 2)
    assert "hierarchical" not in found  # needs two levels
