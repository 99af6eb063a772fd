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
    assert "trained by chance" in agreement(top).reason
    assert "not known" in agreement(replace(on, purposes=())).reason


def test_nothing_is_estimated_where_all_is_trained() -> None:
    merged, truth = scores(0)
    on = replace(landscape(), trained=truth[None])
    for coefficient in ("pearson", "spearman"):
        found = agreement(on, coefficient)
        assert found.low == found.value == found.high
        assert found.n == 11
    assert agreement(on).value == pytest.approx(np.corrcoef(merged[4:], truth[4:])[0, 1])


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
