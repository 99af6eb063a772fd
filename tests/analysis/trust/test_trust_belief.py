"""The belief: a sampler with the right law, the same for any unit, and near what was measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.trust_landscapes import landscape, scores
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.trust import belief as room
from analysis.trust import believe
from analysis.trust.belief import slice_step
from m2m.errors import InputError


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"KEPT": 30, "APART": 1, "BEFORE": 20}.items():
        monkeypatch.setattr(room, name, value)


def test_the_sampler_has_the_posteriors_law() -> None:
    # Standard normal prior, one observation 1.5 of the first coordinate with deviation 0.5.
    rng = np.random.default_rng(0)
    at, found = np.zeros(2), []
    for _ in range(20_000):
        at = slice_step(at, lambda x: -0.5 * ((x[0] - 1.5) / 0.5) ** 2, rng)
        found.append(at)
    drawn = np.array(found)
    # Mean 1.2, variance 0.2, and the second coordinate is left as it was; 20 000 dependent draws, of which at
    # least a tenth count: six standard errors.
    assert drawn.mean(axis=0) == pytest.approx([1.2, 0.0], abs=6 / np.sqrt(2000))
    assert drawn.var(axis=0) == pytest.approx([0.2, 1.0], rel=6 * np.sqrt(2 / 2000))


@settings(max_examples=8, deadline=None)
@given(scale=st.floats(1e-6, 1e6), shift=st.floats(-1e3, 1e3), turned=st.booleans())
def test_units_do_not_matter(scale: float, shift: float, turned: bool) -> None:
    on = landscape()
    a = -scale if turned else scale
    b = shift * scale
    other = replace(on, merged=a * on.merged + b, trained=a * on.trained + b, higher_is_better=not turned)
    [first], [second] = believe([on], 3), believe([other], 3)
    # Scores lose the digits of the shift; what follows is smooth in them except at a bracket's end.
    np.testing.assert_allclose((second.mean - b) / a, first.mean, atol=1e-5)
    assert [hyper.length for hyper in first.hyper] == [hyper.length for hyper in second.hyper]


def test_what_was_trained_is_believed() -> None:
    on = landscape(trained=6)
    [belief] = believe([on])
    rows, _ = on.trainings
    waiting = np.flatnonzero(np.isnan(on.measured))
    assert np.abs(belief.mean[rows] - on.trained[0, rows]).max() < 0.1 * on.unit
    assert belief.sd[rows].max() < belief.sd[waiting].min()
    assert np.abs(belief.mean[:4] - on.merged[:4]).max() < 0.1 * on.unit


def test_the_same_seed_gives_the_same_belief() -> None:
    first, again, other = (believe([landscape()], seed)[0].draws for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_targets_teach_each_other() -> None:
    # Nine targets on which merging is nearly right say that it is on the tenth, where little is trained.
    merged, _ = scores(0)
    rng = np.random.default_rng(0)

    def near(seed: int, trained: int) -> object:
        on = landscape(seed, trained)
        close = on.merged + 0.02 * on.unit * rng.normal(size=len(merged))
        return replace(on, trained=np.where(np.isfinite(on.trained), close, np.nan), target=str(seed))

    few = near(0, 2)
    [alone] = believe([few])  # type: ignore[list-item]
    together = believe([few, *(near(seed, 8) for seed in range(1, 5))])[0]  # type: ignore[list-item]
    waiting = np.flatnonzero(np.isnan(few.measured))  # type: ignore[attr-defined]
    assert together.sd[waiting].mean() < 0.7 * alone.sd[waiting].mean()


def test_too_few_trainings() -> None:
    with pytest.raises(
        InputError, match=r"^target 'all': 1 mixtures .* wanted at least 2; budget says which"
    ):
        believe([landscape(trained=1)])
