"""Designs: half by chance, half from the top, said of each; and what the random half says about all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.trust_landscapes import landscape, scores
from hypothesis import given
from hypothesis import strategies as st

from analysis.trust import agreement, design
from m2m.errors import ConfigError, InputError
from m2m.mixture import Mixture, all_subsets

MERGED, TRUTH = scores(0)
SUBSETS = all_subsets("abcd")


@given(budget=st.integers(2, 11), seed=st.integers(0, 99), higher=st.booleans())
def test_half_by_chance_and_half_from_the_top(budget: int, seed: int, higher: bool) -> None:
    planned = design(MERGED, SUBSETS, budget, seed, higher_is_better=higher)
    rows = [one.row for one in planned]
    assert len(set(rows)) == budget
    assert all(len(one.mixture.members) > 1 and one.mixture == SUBSETS[one.row] for one in planned)
    purposes = [one.purpose for one in planned]
    assert purposes == ["random"] * ((budget + 1) // 2) + ["top"] * (budget // 2)
    rest = sorted(
        set(range(4, 15)) - set(rows[: (budget + 1) // 2]), key=lambda row: MERGED[row], reverse=higher
    )
    assert rows[(budget + 1) // 2 :] == rest[: budget // 2]


def test_every_mixture_is_drawn_as_often() -> None:
    drawn = [
        one.row for seed in range(600) for one in design(MERGED, SUBSETS, 8, seed) if one.purpose == "random"
    ]
    counts = np.bincount(drawn, minlength=15)
    assert (counts[:4] == 0).all()
    # 600 draws of 4 of 11: each 218 times, with a standard deviation of 11.8.
    assert np.abs(counts[4:] - 600 * 4 / 11).max() < 5 * 11.8


@given(seed=st.integers(0, 99), data=st.data())
def test_what_is_trained_is_never_planned_again(seed: int, data: st.DataObject) -> None:
    trained = [row < 4 or data.draw(st.booleans()) for row in range(15)]
    trained[data.draw(st.integers(4, 9))] = trained[data.draw(st.integers(10, 14))] = False
    left = trained.count(False)
    budget = data.draw(st.integers(2, left))
    planned = design(MERGED, SUBSETS, budget, seed, trained=trained)
    new = [one for one in planned if not one.trained]
    assert len(new) == budget
    assert all(one.trained == trained[one.row] for one in planned)
    assert all(one.purpose == "random" for one in planned if one.trained)
    # The sample is what it would be with nothing trained: nothing that is known decides who is asked.
    sample = [one.row for one in planned if one.purpose == "random"]
    afresh = [one.row for one in design(MERGED, SUBSETS, budget, seed) if one.purpose == "random"]
    assert sample == afresh
    with pytest.raises(InputError, match=f"there are {left} mixtures of two or more"):
        design(MERGED, SUBSETS, left + 1, seed, trained=trained)


def test_an_earlier_sample_is_enlarged() -> None:
    purposes = [""] * 15
    purposes[5], purposes[8], purposes[11] = "random", "random", "top"
    trained = [row in (0, 1, 2, 3, 5, 11) for row in range(15)]
    joined = set()
    for seed in range(60):
        planned = design(MERGED, SUBSETS, 4, seed, trained=trained, purposes=purposes)
        first, second, *_ = [one.row for one in planned if one.purpose == "random"]
        # What the sample waits for comes first; what joins is drawn from all that is outside, trained or not.
        assert first == 8
        joined.add(second)
        assert sum(not one.trained for one in planned) == 4
    assert joined == set(range(4, 15)) - {5, 8}


def test_nothing_is_left_to_plan() -> None:
    with pytest.raises(InputError, match="trained already: nothing is left to train"):
        design(MERGED, SUBSETS, 2, trained=[True] * 15)


def test_targets_take_turns_at_the_top() -> None:
    merged = np.stack([np.arange(15.0), -np.arange(15.0)])
    planned = design(merged, SUBSETS, 6, 0)
    drawn = {one.row for one in planned[:3]}
    left = [row for row in range(4, 15) if row not in drawn]
    assert [one.row for one in planned[3:]] == [left[-1], left[0], left[-2]]


def test_members_may_be_names_or_mixtures() -> None:
    names = [mixture.members for mixture in SUBSETS]
    assert design(MERGED, names, 6) == design(MERGED, SUBSETS, 6)
    shares = [Mixture(("a", "b"), (1 - x, x)) for x in (0.0, 0.25, 0.5, 1.0)]
    assert {one.mixture.label for one in design([0, 1, 2, 3], shares, 2)} == {"a=0.75+b=0.25", "a+b"}


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (ConfigError, "budget must be a whole number of at least 2", {"budget": 1}),
        (InputError, "a budget of 12 trainings, but there are 11", {"budget": 12}),
        (InputError, "a score is not finite", {"merged": np.full(15, np.nan)}),
        (InputError, r"got shape \[1, 3\]", {"merged": [1, 2, 3]}),
        (InputError, "write", {"members": ["a", "b"]}),
        (
            InputError,
            r"trained: wanted true or false a mixture \[15\], got float64 \[15\]",
            {"trained": TRUTH},
        ),
        (InputError, r"purposes: wanted one a mixture \[15\], got 1", {"purposes": ["top"]}),
    ],
)
def test_mistakes(error: type[Exception], message: str, change: dict[str, object]) -> None:
    with pytest.raises(error, match=message):
        design(**({"merged": MERGED, "members": SUBSETS, "budget": 4} | change))  # type: ignore[arg-type]


def test_only_the_random_half_says_how_well_scores_agree() -> None:
    on = landscape(trained=6)
    found = agreement(on)
    sample = np.array(on.purposes) == "random"
    assert found.value == pytest.approx(np.corrcoef(on.merged[sample], on.trained[0, sample])[0, 1])
    assert found.n == 6
    # One more from the top changes nothing: it is no part of the sample.
    row = int(np.flatnonzero(on.several & np.isnan(on.trained[0]))[0])
    more, purposes = on.trained.copy(), list(on.purposes)
    more[0, row], purposes[row] = 99.0, "top"
    assert agreement(replace(on, trained=more, purposes=tuple(purposes))) == found
    top = replace(on, purposes=tuple("top" if purpose else "" for purpose in on.purposes))
    assert agreement(top).value is None
    assert agreement(top).reason == "it needs 4 trained mixtures that were drawn by chance, and there are 0"
    assert "not known" in agreement(replace(on, purposes=())).reason


def test_where_all_is_trained_there_is_no_interval_and_it_is_said_why() -> None:
    merged, truth = scores(0)
    on = replace(landscape(), trained=truth[None])
    for coefficient in ("pearson", "spearman"):
        found = agreement(on, coefficient)
        assert (found.low, found.high, found.n) == (None, None, 11)
        assert "no sampling error; other training seeds are not in this" in found.reason
        assert "means" not in found.reason
    assert agreement(on).value == pytest.approx(np.corrcoef(merged[4:], truth[4:])[0, 1])
    # Of two seeds the mean is the trained score, and it is said.
    other = truth + np.random.default_rng(0).normal(size=15) / 5
    twice = agreement(replace(on, trained=np.stack([truth, other])))
    assert twice.value == pytest.approx(np.corrcoef(merged[4:], (truth + other)[4:] / 2)[0, 1])
    assert "scores are means of 2 training seeds" in twice.reason


def test_the_interval_shrinks_with_the_share_that_is_trained() -> None:
    on = landscape(trained=8)
    found = agreement(on)
    assert found.value is not None
    assert found.low is not None
    # Fisher's: atanh r ± 1.96/√(n − 3), times √(1 − 8/11).
    reach = 1.959964 / np.sqrt(5) * np.sqrt(3 / 11)
    assert np.arctanh(found.value) - np.arctanh(found.low) == pytest.approx(reach, rel=1e-6)


def test_equal_scores_have_no_correlation() -> None:
    on = landscape(trained=6)
    flat = np.where(np.isfinite(on.trained), 1.0, np.nan)
    assert "equal" in agreement(replace(on, trained=flat)).reason
