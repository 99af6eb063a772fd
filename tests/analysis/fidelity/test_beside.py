"""Merging beside its experts: leads by hand, choices by hand, laws, and what cannot be had."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from helpers.missing_numbers import unexplained
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.fidelity import Points, beside, of_table, study
from analysis.fidelity.beside import beside_table, regrets_table
from analysis.fidelity.coefficients import COEFFICIENTS, of_redraws
from analysis.fidelity.leads import DATASETS, TARGETS, THESE
from analysis.fidelity.scores import Sample
from analysis.fidelity.study import write
from analysis.fidelity.utilities import MIXED, SEVERAL, SINGLE
from analysis.results import write_results


def subsets(names: str) -> tuple[tuple[str, ...], ...]:
    return tuple(part for k in range(1, len(names) + 1) for part in combinations(names, k))


def target(
    name: str, rng: np.random.Generator, names: str = "abcd", *, examples: int = 0, seeds: bool = True
) -> Points:
    """Scores whose merged models know something, and their experts something else."""
    members = subsets(names)
    single = np.array([len(part) == 1 for part in members])
    merged = rng.normal(size=len(members))
    trained = np.where(single, merged, merged + 0.5 * rng.normal(size=len(members)))
    again = trained + 0.1 * rng.normal(size=len(members)) if seeds else np.full(len(members), np.nan)
    each = None
    if examples:
        noise = rng.normal(size=(2, len(members), examples))
        noise -= noise.mean(axis=2, keepdims=True)
        noise[1][single] = noise[0][single]
        each = ((merged[:, None] + noise[0], trained[:, None] + noise[1]),)
    labels = tuple("+".join(part) for part in members)
    return Points(name, "m", True, labels, members, merged, trained, again, 0, each)


def three(seed: int = 0, **more: object) -> list[Points]:
    rng = np.random.default_rng(seed)
    return [target(f"t{number}", rng, **more) for number in range(3)]  # type: ignore[arg-type]


@settings(max_examples=25)
@given(seed=st.integers(0, 99), coefficient=st.sampled_from(["pearson", "spearman"]))
def test_redrawn_scores_are_correlated_as_one_sample_after_the_other(seed: int, coefficient: str) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 6, size=(2, 4, 15)).astype(float)
    stratum = np.repeat([0, 1, 2], 5)
    found = of_redraws(coefficient, first, second, stratum)
    for row, value in enumerate(found):
        sample = Sample(first[row], second[row], stratum, np.arange(15), None)
        expected = COEFFICIENTS[coefficient](sample, np.ones((1, 15)))[0]
        assert value == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_a_lead_is_the_difference_over_mixtures_of_two_or_more() -> None:
    [points, *_] = three()
    found = beside([points])
    large = points.sizes > 1
    best = [max(points.merged["abcd".index(name)] for name in names) for names in points.members or ()]
    expected = {
        "pearson": stats.pearsonr(np.array(best)[large], points.trained[large]).statistic,
        "spearman": stats.spearmanr(np.array(best)[large], points.trained[large]).statistic,
    }
    merged = {
        "pearson": stats.pearsonr(points.merged[large], points.trained[large]).statistic,
        "spearman": stats.spearmanr(points.merged[large], points.trained[large]).statistic,
    }
    other = found.by["t0"]["best_member"]
    assert found.pooled is None
    assert other.n == 11
    for coefficient in expected:
        assert getattr(other, coefficient) == pytest.approx(expected[coefficient])
        lead = getattr(other, f"{coefficient}_lead")
        assert lead.value == pytest.approx(merged[coefficient] - expected[coefficient])
        assert lead.low is None or lead.low < lead.value < lead.high
    assert other.pearson_lead.low is not None
    assert found.by["t0"]["merged"].pearson_lead.value is None


def test_every_question_has_its_interval_or_its_reason() -> None:
    pooled = beside(three(examples=20)).pooled
    assert pooled is not None
    these, targets, datasets = pooled["mean_of_members"].pearson_lead.intervals
    assert [i.method for i in (these, targets, datasets)] == [THESE, TARGETS, DATASETS]
    assert these.low is not None
    assert targets.low is not None
    assert datasets.reason == "cannot be told from fewer than 6 datasets"
    bare = beside(three(seeds=False)[:2]).pooled
    assert bare is not None
    these, targets, _ = bare["mean_of_members"].pearson_lead.intervals
    assert these.reason == "neither single examples nor a second training seed are known"
    assert targets.reason == "cannot be told from fewer than 3 targets"
    six = beside(three(names="abcdef")[:1]).by["t0"]["mean_of_members"].pearson_lead.intervals[2]
    assert six.low is not None


def test_more_examples_to_know_from_narrow_the_interval() -> None:
    def width(examples: int) -> float:
        found = beside([target("t", np.random.default_rng(1), examples=examples)])
        interval = found.by["t"]["best_member"].pearson_lead.intervals[0]
        assert interval.low is not None
        assert interval.high is not None
        return interval.high - interval.low

    assert width(4) > width(400)


def test_an_expert_that_says_it_all_leads() -> None:
    """Trained is the best member: that surrogate is perfect, and merging behind."""
    [points, *_] = three()
    best = [max(points.merged["abcd".index(name)] for name in names) for names in points.members or ()]
    perfect = Points(
        "t", "m", True, points.labels, points.members, points.merged, np.array(best), points.again
    )
    found = beside([perfect]).by["t"]["best_member"]
    assert (found.pearson, found.spearman) == (1, 1)
    assert found.pearson_lead.value < 0
    assert "a correlation is ±1" in found.pearson_lead.intervals[0].reason


TABLE = {
    "t": {"a": 3, "b": 1, "c": 0, "a+b": 2.6, "a+c": 2.5, "b+c": 1, "a+b+c": 1.5},
    "u": {"a": 0, "b": 4, "c": 1, "a+b": 3.2, "a+c": 1, "b+c": 3.5, "a+b+c": 2},
}


def table_points(name: str, trained: dict[str, float]) -> Points:
    members = tuple(tuple(label.split("+")) for label in trained)
    scores = np.array(list(trained.values()), dtype=float)
    merged = scores.copy()
    merged[3:] = -1
    return Points(name, "m", True, tuple(trained), members, merged, scores, np.full(7, np.nan))


def test_choices_by_hand() -> None:
    found = beside([table_points(name, scores) for name, scores in TABLE.items()])
    single, pair = found.choices[SINGLE], found.choices[SEVERAL]
    # Alone, the best dataset is best on either target, and merging and the best member find it.
    assert (single.utilities, single.best_is_mixed, single.picked_one) == (2, 0, 2)
    assert single.regret["merged"].value == single.regret["best_member"].value == 0
    # Together: t / sd(t) + u / sd(u) is best for a+b; merging, which knows single datasets only, takes b.
    t, u = (np.array(list(scores.values())) for scores in TABLE.values())
    both = t / np.std(t) + u / np.std(u)
    assert (pair.utilities, pair.best_is_mixed) == (1, 1)
    assert np.argmax(both) == 3
    assert pair.regret["merged"].value == pytest.approx((both[3] - both[1]) / np.ptp(both))
    # The best members of t and of u are both in a+b.
    assert pair.regret["best_member"].value == 0
    assert pair.lead["best_member"].value == pytest.approx(-pair.regret["merged"].value)
    assert pair.regret["size"].value == pytest.approx((both[3] - both[6]) / np.ptp(both))
    assert found.choices[MIXED].utilities == 1
    assert "fewer than 3 targets" in pair.regret["merged"].reason
    rows = regrets_table(found).set_index(["utility", "surrogate"])
    assert rows.loc[("t + u", "best_member"), ["picked", "oracle"]].tolist() == ["a+b", "a+b"]


def test_no_loss_on_a_few_targets_is_bounded_and_not_zero() -> None:
    points = three()
    perfect = [
        Points(p.target, "m", True, p.labels, p.members, p.trained, p.trained, p.again) for p in points
    ]
    found = beside(perfect).choices[SINGLE].regret["merged"]
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 3))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), order=st.permutations(range(3)))
def test_laws(seed: int, order: list[int]) -> None:
    """Permuting targets changes nothing, turning a score into a loss neither, regrets lie in [0, 1]."""
    points = three(seed)
    found = beside(points)
    turned = beside([points[i] for i in order])
    upside_down = beside(
        [Points(p.target, "m", False, p.labels, p.members, -p.merged, -p.trained, -p.again) for p in points]
    )
    for other in (turned, upside_down):
        assert other.pooled is not None
        assert found.pooled is not None
        for name, compared in found.pooled.items():
            assert other.pooled[name].pearson == pytest.approx(compared.pearson, abs=1e-9)
            assert other.pooled[name].spearman == pytest.approx(compared.spearman, abs=1e-9)
        for kind, choices in found.choices.items():
            for name, regret in choices.regret.items():
                assert regret.value == pytest.approx(other.choices[kind].regret[name].value, abs=1e-9)
                assert 0 <= regret.value <= 1
                if regret.low is not None:
                    assert 0 <= regret.low <= regret.high <= 1
    single = [pick for pick in found.picks if len(pick.targets) == 1 and pick.surrogate == "best_member"]
    # The best expert of all, alone: no mixture's best member is better, and fewer datasets go first.
    assert all(pick.size == 1 for pick in single)


def test_targets_without_experts_are_left_out_with_what_to_do(tmp_path: Path) -> None:
    rows = ["members,t,x,y", "a,u,1,1", "b,u,2,2", "a+b,u,3,4", "a,v,1,1", "a+b,v,2,3"]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(rows) + "\n")
    found = of_table(path, "x", "y", "t").beside
    assert list(found.by) == ["u"]
    assert "the expert of 'b' has no scores; add the row of 'b' alone" in found.left_out["v"]
    path.write_text("x,y\n1,1\n2,3\n3,2\n4,4\n")
    none = of_table(path, "x", "y").beside
    assert none.reason == "no target has its experts' scores"
    assert "give members (in a table a column `members`)" in none.left_out["all"]


def flat(points: Points, **changes: object) -> Points:
    given = {"merged": points.merged, "trained": points.trained, "again": points.again} | changes
    return Points(points.target, "m", True, points.labels, points.members, **given)  # type: ignore[arg-type]


CASES: dict[str, list[Points]] = {
    "plain": three(examples=8),
    "merged scores equal": [flat(p, merged=np.ones(15)) for p in three()],
    "trained scores equal": [flat(p, trained=np.ones(15)) for p in three()],
    "no number": [flat(three()[0], merged=np.where(np.arange(15) == 4, np.nan, three()[0].merged))],
    "an infinite expert": [flat(p, merged=np.where(np.arange(15) == 1, np.inf, p.merged)) for p in three()],
    "merged is trained": [flat(p, merged=p.trained) for p in three()],
    "two datasets": [target("t", np.random.default_rng(0), "ab")],
    "one mixture": [Points("t", "m", True, ("a",), (("a",),), np.ones(1), np.ones(1), np.ones(1))],
    "different mixtures": [three()[0], target("u", np.random.default_rng(0), "wxyz")],
    "huge": [flat(p, **{s: 1e149 * getattr(p, s) for s in ("merged", "trained", "again")}) for p in three()],
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_had_is_said(case: str, tmp_path: Path) -> None:
    found = beside(CASES[case])
    content = found.to_json()
    json.dumps(content, allow_nan=False)

    write_results(tmp_path, "x", content, {"b": beside_table(found), "r": regrets_table(found)})
    assert unexplained(tmp_path) == []


def test_a_study_writes_it(tmp_path: Path) -> None:
    write(study(three(examples=8)), tmp_path, {})
    assert {"fidelity_beside.csv", "fidelity_regrets.csv"} <= {path.name for path in tmp_path.iterdir()}
    content = json.loads((tmp_path / "fidelity.json").read_text())["beside"]
    assert set(content["choices"]) <= {SINGLE, SEVERAL, MIXED}
    assert content["overall"]["merged"]["pearson"] == pytest.approx(
        beside(three(examples=8)).pooled["merged"].pearson  # type: ignore[index]
    )


def test_similarities_stand_beside_where_they_are_known() -> None:
    known = {"t0": {"a": 0.1, "b": 0.3, "c": 0.2, "d": 0.9}}
    found = beside(three(), similarities=known)
    assert "similarity" in found.by["t0"]
    assert "similarity" not in found.by["t1"]
    assert found.pooled is not None
    assert "similarity" not in found.pooled
