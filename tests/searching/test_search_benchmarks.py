"""The benchmarks of search measure what they say: known landscapes, true regrets, fair rivals."""

from __future__ import annotations

import math
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.benchmarks import benchmark

from m2m.errors import InputError
from m2m.mixture import Mixture, all_subsets, weight_matrix
from m2m.scoring.table import ScoreTable
from m2m.searching import MixtureList, Simplex

effects = benchmark("effects")
landscapes = benchmark("landscapes")
search = benchmark("search")
simplex = benchmark("search_simplex")
rival = benchmark("simplex_rival")

NAMES = tuple("abcdef")
POINTS = np.array(weight_matrix(all_subsets(NAMES)))
NOISE = 1e-7


@dataclass
class Losses:
    values: dict[str, np.ndarray[Any, Any]]


def real(seed: int = 0, bump: float = 0.0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Places of six datasets in three directions, and what all their subsets lose."""
    generator = np.random.default_rng(seed)
    places = generator.normal(size=(6, 3))
    at = POINTS @ places
    losses = 1 + at @ np.array([0.5, -1.0, 0.2]) + (at**2).sum(1) + bump * np.sin(2 * at[:, 0])
    return places, losses + NOISE * generator.normal(size=len(at))


def squared_distances(places: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(((places[:, None] - places[None]) ** 2).sum(-1))


def test_effects_recover_the_distances_of_a_quadratic() -> None:
    places, losses = real()
    found = effects.fitted(POINTS, losses)
    # Least squares passes on noise by less than the norm of the pseudo-inverse of the terms, 200 here.
    assert np.abs(squared_distances(found.places) - squared_distances(places)).max() < 200 * 6 * NOISE
    assert found.noise < 10 * NOISE
    assert found.span == np.ptp(losses)


@pytest.mark.parametrize("bump", [0.0, 0.3])
def test_a_fit_gives_back_the_losses_it_was_fitted_to(bump: float) -> None:
    _, losses = real(bump=bump)
    found = effects.fitted(POINTS, losses)
    at = POINTS @ found.places
    again = found.level + at @ found.slope + (at**2).sum(1) + POINTS @ found.rest + found.beyond.at(at)
    # Six standard deviations of the noise it found; smoothing leaves no more than noise.
    assert np.abs(again - losses).max() < 6 * found.noise + 1e-12
    assert found.noise < 0.05 * found.span


def test_children_are_as_far_apart_as_real_datasets_and_siblings_half_as_far() -> None:
    places = effects.fitted(POINTS, real()[1]).places
    many = 1000
    parents, shared, own = landscapes.children(places, many, np.random.default_rng(0))
    apart = squared_distances(shared) + 2 * own
    siblings = parents[:, None] == parents
    expected = squared_distances(places)[~np.eye(6, dtype=bool)].mean()
    # The mean over pairs of 1000 children varies by some 1/√1000 of itself.
    assert apart[~siblings].mean() == pytest.approx(expected, rel=4 / math.sqrt(many))
    assert apart[siblings & ~np.eye(many, dtype=bool)].mean() == pytest.approx(
        expected / 2, rel=4 / math.sqrt(many)
    )


@pytest.mark.parametrize("bump", [0.0, 0.5])
def test_the_optimum_is_the_lowest_of_all_subsets(bump: float) -> None:
    problem = landscapes.grown(effects.fitted(POINTS, real(bump=bump)[1]), 9, 3)
    every = problem.truth.at(np.array(weight_matrix(all_subsets(problem.space.datasets))))
    assert problem.optimum == pytest.approx(every.min(), abs=1e-12)
    again = landscapes.grown(effects.fitted(POINTS, real(bump=bump)[1]), 9, 3)
    mixture = Mixture.subset(problem.space.datasets, ["d1", "d4"])
    assert problem.evaluate(mixture) == again.evaluate(mixture) != problem.loss(mixture)


def test_regret_is_one_at_the_poor_loss() -> None:
    problem = landscapes.aligned(7, 1)
    every = all_subsets(problem.space.datasets)
    regrets = [problem.regret(mixture) for mixture in every]
    assert min(regrets) == pytest.approx(0, abs=1e-12)
    for mixture, regret in zip(every, regrets, strict=True):
        assert problem.loss(mixture) == pytest.approx(problem.optimum + regret * (1.0 - problem.optimum))


def test_a_run_of_the_benchmark_goes_on_where_it_stopped(tmp_path: Path) -> None:
    args = Namespace(
        out=tmp_path / "r.csv", sizes=[7], first=1, seeds=2, strategies=["random", "greedy"], grow=None
    )
    search.run(args)
    rows = pd.read_csv(args.out)
    assert list(rows.columns) == list(search.COLUMNS)
    assert rows.evaluations.tolist() == [14, 28, 42, 56, 70] * 2
    assert (rows.regret > -1e-12).all()
    before = args.out.read_bytes()
    search.run(args)
    assert args.out.read_bytes() == before


def test_the_table_counts_from_the_lowest_loss_that_anybody_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("aligned", 5, 0, "model", 30, -0.01, 0.0), ("aligned", 5, 0, "random", 30, 0.02, 0.0)]
    pd.DataFrame(rows, columns=search.COLUMNS).to_csv(tmp_path / "r.csv", index=False)
    search.table(Namespace(results=[tmp_path / "r.csv"], multiples=[6]))
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "| aligned | 5 | 30 | 0.0 (0.0, 0.0, 0.0; 1) | 3.0 (3.0, 3.0, 3.0; 1) |"


def recorded(run: Path, trained: int = 63) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Write a run in which merging and training disagree a little; two seeds of truth, the second far off."""
    generator = np.random.default_rng(5)
    merged = generator.random(63)
    truth = merged + 0.1 * generator.random(63)
    shared = {"task": "t", "split": "validation", "version": "1", "metrics": {"loss": False}}
    run.mkdir()
    with ScoreTable(run / "scores.sqlite") as table:
        for i, mixture in enumerate(all_subsets(NAMES)):
            table.add(f"m{i}", mixture, "merged", None, scores=Losses({"loss": merged[i : i + 1]}), **shared)
            if i < trained:
                for seed, loss in ((1, truth[i] + 50), (0, truth[i])):
                    scores = Losses({"loss": np.array([loss])})
                    table.add(f"t{i}-{seed}", mixture, "trained", seed, scores=scores, **shared)
    return merged, truth


def test_replay_reports_the_true_regret_of_what_merging_picks(tmp_path: Path) -> None:
    merged, truth = recorded(tmp_path / "run")
    pairs = search.paired(tmp_path / "run", "t")
    assert np.array_equal(sorted(loss for _, _, loss in pairs), sorted(truth))
    regret = 100 * (truth[merged.argmin()] - truth.min()) / np.ptp(truth)
    cells = search.fidelity_row("t", pairs).split(" | ")
    assert cells[1] == f"{np.corrcoef(merged, truth)[0, 1]:.3f}"
    assert cells[-2:] == [all_subsets(NAMES)[merged.argmin()].label, f"{regret:.1f} |"]
    # With a budget for everything, everybody finds it.
    row = search.replay_row("t", "random", pairs, budget=63, seeds=4).split(" | ")
    assert row[2] == "4 of 4"
    assert row[-2:] == [f"{regret:.1f}", f"{regret:.1f} |"]
    # With one evaluation, hardly anybody does, and then there is no number of evaluations.
    row = search.replay_row("t", "random", pairs, budget=1, seeds=4).split(" | ")
    assert row[2] == "0 of 4"
    assert row[3] == "–, –, –"


def test_replay_refuses_a_run_without_the_whole_truth(tmp_path: Path) -> None:
    recorded(tmp_path / "run", trained=61)
    with pytest.raises(InputError, match="2 subsets were not trained"):
        search.paired(tmp_path / "run", "t")


class Bowl:
    """A loss over five domains that is lowest, 2, at the shares below."""

    goal = np.array([0.5, 0.0, 0.3, 0.0, 0.2])

    def predict(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.asarray(2 + ((x - self.goal) ** 2).sum(1))


def test_the_best_shares_of_an_emulator_are_found() -> None:
    problem = simplex.Shares(Bowl(), NAMES[:5], (0, 2, 4), 0.0, 0)
    low, high = problem.extremes()
    # Shares that are off by the last step, 1e-4, cost its square.
    assert low == pytest.approx(2, abs=3e-8)
    assert high == pytest.approx(2 + 0.25 + 0.09 + 0.64)  # all of the last one
    assert problem.evaluate(problem.space.mixture(np.array([0.0, 0.0, 1.0]))) == pytest.approx(high)


def test_all_strategies_on_shares_get_the_same_budgets() -> None:
    problem = simplex.Shares(Bowl(), NAMES[:5], (0, 2, 4), 0.01, 0)
    for name in ("random", "regmix"):
        found = simplex.measure(problem, name, seed=0)
        assert [evaluations for evaluations, _, _ in found] == [9, 18, 30]
        assert all(0 <= regret < 1 for _, regret, _ in found)


def test_regmix_pays_for_its_rows_and_takes_the_mean_of_what_it_likes() -> None:
    asked: list[Mixture] = []

    def loss(mixture: Mixture) -> float:
        asked.append(mixture)
        return float(((np.array(mixture.weights) - [0.6, 0.3, 0.1]) ** 2).sum())

    pick = rival.regmix(loss, Simplex(NAMES[:3]), 60, 1)
    assert len(asked) == 60
    losses = [loss(mixture) for mixture in asked[:60]]
    assert loss(pick) < np.quantile(losses, 0.1)


def test_every_strategy_looks_at_as_many_different_rows_as_it_may() -> None:
    generator = np.random.default_rng(0)
    points = generator.dirichlet(np.ones(4), 50)
    values = generator.random(50)
    pool = MixtureList([Mixture(NAMES[:4], tuple(row)) for row in points.tolist()])
    for name in ("random", "regmix", "model"):
        seen = simplex.rows_seen(name, pool, values, 15, 0)
        assert len(set(seen)) == len(seen) == 15
