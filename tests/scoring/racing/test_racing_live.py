"""Races of merged models, and searches whose mixtures race: real models, real scores, real merges."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from helpers.linear_setup import linear_setup

from m2m.errors import ConfigError, InputError, MixtureError
from m2m.mixture import Mixture, all_subsets, weight_matrix
from m2m.scoring import LiveModel, MergedCandidates, RacedObjective, TargetScorer, race, score_resident
from m2m.searching import Objective, Subsets, search
from m2m.support.arrays import Floats

NAMES = ("a", "b", "c", "d")


Bench = tuple[LiveModel, TargetScorer, Floats, Floats]


@pytest.fixture
def bench() -> Bench:
    """Return a live model, its task, all subsets' weights, and the loss of each on each example: [M, E]."""
    setup = linear_setup(0, "".join(NAMES))
    scorer = TargetScorer(setup, "target")
    model, base = setup.build(), setup.build().state_dict()
    experts = []
    for seed in range(len(NAMES)):
        generator = torch.Generator().manual_seed(seed)
        moved = torch.randn(base["theta"].shape, dtype=torch.float64, generator=generator)
        experts.append(base | {"theta": moved})
    weights = np.array(weight_matrix(all_subsets(NAMES)))
    rows = score_resident(model, base, experts, weights, [scorer])
    table = np.stack([scores[0].values["loss"] for scores in rows])
    return LiveModel(model, base, experts), scorer, weights, table


def test_merged_candidates_give_the_values_of_scoring_them_all(bench: Bench) -> None:
    live, scorer, weights, table = bench
    candidates = MergedCandidates(live, weights, scorer)
    before = {name: value.clone() for name, value in live.model.state_dict().items()}
    examples = [3, 0, table.shape[1] - 1]
    assert (candidates.count, candidates.examples, candidates.higher_is_better) == (*table.shape, False)
    got = candidates.values([5, 0], examples)
    assert np.allclose(got, table[np.ix_([5, 0], examples)], rtol=1e-12)  # other batches round otherwise
    assert candidates.merges == 2
    assert all(torch.equal(value, before[name]) for name, value in live.model.state_dict().items())


def test_a_live_race_finds_the_best_and_counts_its_merges(bench: Bench) -> None:
    live, scorer, weights, table = bench
    candidates = MergedCandidates(live, weights, scorer)
    result = race(candidates, 1.0)
    means = table.mean(axis=1)
    assert result.winner == means.argmin()
    assert result.merges == candidates.merges
    behind = means - means.min()
    whole = result.seen == table.shape[1]
    assert np.allclose(result.behind[whole], behind[whole])


def test_candidates_that_do_not_fit_the_task(bench: Bench) -> None:
    live, scorer, weights, _ = bench
    with pytest.raises(ConfigError, match=re.escape("task target has no metric 'bleu'; it has ['loss']")):
        MergedCandidates(live, weights, scorer, "bleu")
    with pytest.raises(MixtureError, match=re.escape("weights must be [M, 4]")):
        MergedCandidates(live, weights[:, :3], scorer)
    with pytest.raises(InputError, match=r"needs candidates and examples, got 0 and "):
        MergedCandidates(live, weights[:0], scorer)


# ---- under a search ----


def recorded(higher: bool) -> tuple[RacedObjective, dict[str, Floats]]:
    generator = np.random.default_rng(0)
    difficulty = generator.standard_normal(100)
    table = {
        mixture.key: difficulty
        + len(mixture.members)
        + 0.2 * NAMES.index(mixture.members[0])
        + 0.3 * generator.standard_normal(100)
        for mixture in all_subsets(NAMES)
    }

    def values(mixture: Mixture, examples: Sequence[int]) -> Floats:
        return table[mixture.key][list(examples)]

    return RacedObjective(values, 100, higher_is_better=higher), table


@pytest.mark.parametrize("higher", [True, False])
def test_a_search_races_underneath(higher: bool) -> None:
    raced, table = recorded(higher)
    result = search(Objective(raced, higher_is_better=higher), Subsets(NAMES))
    totals = {key: scores.mean() for key, scores in table.items()}
    best = (max if higher else min)(totals, key=lambda key: totals[key])
    assert result.best.key == best
    assert result.value == totals[best]
    assert raced.evaluations == sum(estimate.examples for estimate in raced.estimates.values())
    assert raced.evaluations < 15 * 100
    assert raced(result.best) == result.value  # known, so free
    assert raced.evaluations == sum(estimate.examples for estimate in raced.estimates.values())


def test_who_is_given_up_is_estimated_with_its_error() -> None:
    raced, table = recorded(higher=False)
    search(Objective(raced, higher_is_better=False), Subsets(NAMES))
    given_up = {key: estimate for key, estimate in raced.estimates.items() if estimate.examples < 100}
    assert len(given_up) >= 8
    misses = [(e.value - table[key].mean()) / e.standard_error for key, e in given_up.items()]
    assert np.abs(misses).max() < 5
    whole = {key: estimate for key, estimate in raced.estimates.items() if estimate.examples == 100}
    assert all(e.standard_error == 0 and e.value == table[key].mean() for key, e in whole.items())
    assert min(e.value for e in given_up.values()) > min(e.value for e in whole.values())


def test_bad_scores_under_a_search_are_named() -> None:
    mixture = Mixture.subset(NAMES, ["a", "c"])
    raced = RacedObjective(
        lambda _, examples: [float("nan"), *[0.0] * (len(examples) - 1)], 5, higher_is_better=True
    )
    with pytest.raises(InputError, match=r"scores of a\+c must be 5 finite numbers, .* 1 of them not finite"):
        raced(mixture)
    for examples, confidence in ((0, 0.5), (5, 1.0)):
        with pytest.raises(InputError, match=f"got {examples} and {confidence}"):
            RacedObjective(lambda *_: [0.0], examples, higher_is_better=True, confidence=confidence)
