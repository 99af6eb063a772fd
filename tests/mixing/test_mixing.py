"""MergeMix on linear regression, where merged losses are exactly quadratic and the best shares are known."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.killed import killed_every
from helpers.linear_setup import run_config
from helpers.mix_configs import with_mix, written
from scipy.optimize import minimize

from m2m import mix, pipeline
from m2m.checkpoint import Checkpoint
from m2m.errors import ConfigError, InputError, MixtureError
from m2m.exporting import read_mixture
from m2m.mixing import MixResult
from m2m.mixture import Mixture
from m2m.pipeline import config, run_folder
from m2m.pipeline.mix_options import MixOptions

CONFIG = (
    run_config("seed = 3")
    + """
[mix]
regressor = "gp"
seeds = 24
points = 512
top_k = 10
bootstrap = 8
"""
)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> config.RunConfig:
    return written(tmp_path_factory.mktemp("config"), CONFIG)


@pytest.fixture(scope="module")
def found(loaded: config.RunConfig, tmp_path_factory: pytest.TempPathFactory) -> MixResult:
    return mix(loaded, tmp_path_factory.mktemp("run") / "out", workers=1, train=True)


def _true_loss(found: MixResult, loaded: config.RunConfig, weights: np.ndarray) -> float:
    """Loss of the model whose θ is the experts' mean, on the target, by hand."""
    from m2m import setups

    setup = setups.load(loaded.setup, loaded.root, Path())
    root = found.folder.parent
    thetas = [
        Checkpoint(root / "experts" / name / "seed3").state()["theta"].numpy()
        for name in found.mixture.datasets
    ]
    x, y = (tensor.numpy() for tensor in setup.targets["target"].validation.tensors)
    return float(((x @ (weights @ np.array(thetas)) - y) ** 2 / 2).mean())


def test_the_shares_are_the_best_of_all(found: MixResult, loaded: config.RunConfig) -> None:
    n = len(found.mixture.datasets)
    exact = minimize(
        lambda weights: _true_loss(found, loaded, weights),
        np.full(n, 1 / n),
        bounds=[(0, 1)] * n,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
    )
    # A fiftieth of the starting mixtures' range above the best loss there is, by a fit to 24 of them.
    losses = [candidate.measured["target"] for candidate in found.candidates]
    assert found.chosen.measured["target"] <= exact.fun + 0.02 * np.ptp(losses)
    assert found.chosen.measured["target"] == pytest.approx(
        _true_loss(found, loaded, np.array(found.mixture.weights)), rel=1e-12
    )


def test_the_choice_is_the_best_measured(found: MixResult) -> None:
    assert found.chosen.utility == max(candidate.utility for candidate in found.candidates)
    kinds = [candidate.kind for candidate in found.candidates]
    assert kinds[0] == "equal"
    assert kinds[-2:] == ["argmax", "top"]
    assert len(kinds) == 24 + 2
    assert {"grid", "drawn"} <= set(kinds)


def test_targets_on_which_merging_gains_nothing_are_named(found: MixResult) -> None:
    (fit,) = found.fits
    assert found.chosen.measured[fit.target.name] < fit.base  # a loss
    assert found.no_gain == []
    beaten = replace(fit, base=found.chosen.measured[fit.target.name])
    assert replace(found, fits=[beaten]).no_gain == [fit.target.name]


def test_the_utility_counts_the_range_of_the_starting_mixtures(found: MixResult) -> None:
    starts = found.candidates[:24]
    assert min(candidate.utility for candidate in starts) == 0
    assert found.best_start.utility == 1
    best = min(starts, key=lambda candidate: candidate.measured["target"])
    assert best == found.best_start, "a loss counts downwards"


def test_intervals_hold_the_shares_and_say_how_sure(found: MixResult) -> None:
    doubt = found.uncertainty
    assert doubt is not None
    assert doubt.choices.shape == (8, 3)
    np.testing.assert_allclose(doubt.choices.sum(1), 1)
    assert (doubt.low <= doubt.high).all()
    assert doubt.regret >= 0
    assert 0 <= doubt.beats_equal <= 1


def test_what_is_written_can_be_read(found: MixResult) -> None:
    content = json.loads((found.folder / "mix.json").read_text(encoding="utf-8"))
    assert content == json.loads(json.dumps(found.to_json()))
    assert read_mixture(str(found.folder / "mixture.json")) == found.mixture
    lines = (found.folder / "candidates.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "candidate,kind,a,b,c,utility,utility predicted,target,target predicted"
    assert len(lines) == 1 + len(found.candidates)


def test_every_column_of_the_candidates_is_documented(found: MixResult, by_pairs: MixResult) -> None:
    page = (Path(__file__).parents[2] / "docs" / "mixing.md").read_text(encoding="utf-8")
    section = page.partition("## `candidates.csv`")[2].partition("\n## ")[0]
    told = {line.split("|")[1].strip(" `") for line in section.splitlines() if line.startswith("|")}
    header, _ = by_pairs.to_rows()
    assert set(found.to_rows()[0]) < set(header)
    of_target = {f"target{what}": f"TARGET{what}" for what in ("", " predicted", " correction")}
    named = {**dict.fromkeys("abc", "DATASET"), **of_target}
    assert {named.get(column, column) for column in header} == told - {"column", "---"}


def test_training_is_real_and_reported_beside_equal_shares(found: MixResult) -> None:
    assert set(found.trained) == {"chosen", "equal"}
    folder = run_folder.RunFolder(found.folder.parent)
    assert folder.model(found.mixture, 3).exists()
    assert folder.model(Mixture.subset("abc", "abc"), 3).exists()
    assert set(found.trained["chosen"]["target"]) == {"validation", "test"}


@pytest.fixture(scope="module")
def by_pairs(loaded: config.RunConfig, tmp_path_factory: pytest.TempPathFactory) -> MixResult:
    options = {"pairs": True, "grid": 2, "bootstrap": 2}
    return mix(with_mix(loaded, **options), tmp_path_factory.mktemp("pairs") / "out", workers=1)


def _trained_loss(found: MixResult, loaded: config.RunConfig, mixture: Mixture) -> float:
    """Loss on the target of the model that was trained on a mixture, by hand."""
    from m2m import setups

    setup = setups.load(loaded.setup, loaded.root, Path())
    model = run_folder.RunFolder(found.folder.parent).model(mixture, 3)
    x, y = (tensor.numpy() for tensor in setup.targets["target"].validation.tensors)
    return float(((x @ Checkpoint(model).state()["theta"].numpy() - y) ** 2 / 2).mean())


def test_with_pairs_scores_are_merged_ones_and_what_training_adds_to_pairs(
    by_pairs: MixResult, loaded: config.RunConfig
) -> None:
    pairs = [Mixture.subset("abc", members) for members in ("ab", "ac", "bc")]
    gains = [
        _trained_loss(by_pairs, loaded, pair) - _true_loss(by_pairs, loaded, np.array(pair.weights))
        for pair in pairs
    ]
    assert min(map(abs, gains)) > 0
    for found in by_pairs.candidates:
        a, b, c = found.mixture.weights
        added = 4 * (gains[0] * a * b + gains[1] * a * c + gains[2] * b * c)
        merged = _true_loss(by_pairs, loaded, np.array(found.mixture.weights))
        assert found.correction["target"] == pytest.approx(added, abs=1e-12)
        assert found.measured["target"] == pytest.approx(merged + added, abs=1e-12)
    trained = {pair: _trained_loss(by_pairs, loaded, pair) for pair in pairs}
    measured = {found.mixture: found.measured["target"] for found in by_pairs.candidates}
    assert {pair: measured[pair] for pair in pairs} == pytest.approx(trained)
    assert by_pairs.chosen.utility == max(found.utility for found in by_pairs.candidates)


def test_corrections_are_written_where_there_are_pairs(by_pairs: MixResult) -> None:
    header, rows = by_pairs.to_rows()
    assert header[-1] == "target correction"
    assert rows[0][-1] == by_pairs.candidates[0].correction["target"]
    content = json.loads((by_pairs.folder / "mix.json").read_text(encoding="utf-8"))
    assert content["options"]["pairs"] is True
    assert {entry["kind"]: entry["correction"] for entry in content["verified"][:3]} == {
        found.kind: found.correction
        for found in by_pairs.candidates
        if found.kind in ("equal", "argmax", "top")
    }


def test_pairs_that_a_run_has_trained_are_not_trained_again(loaded: config.RunConfig, tmp_path: Path) -> None:
    wanted = with_mix(loaded, pairs=True, bootstrap=0)
    folder = pipeline.run(
        replace(wanted, run=replace(wanted.run, validate=True)), tmp_path / "out", workers=1
    )
    models = [folder.model(Mixture.subset("abc", pair), 3) for pair in ("ab", "ac", "bc")]
    stamps = [(path / "model.safetensors").stat().st_mtime_ns for path in models]
    assert mix(wanted, folder.root, workers=1).chosen.correction
    assert [(path / "model.safetensors").stat().st_mtime_ns for path in models] == stamps


def test_a_finished_run_serves_and_stays_as_it_is(loaded: config.RunConfig, tmp_path: Path) -> None:
    folder = pipeline.run(loaded, tmp_path / "out", workers=1)
    before = {
        path: path.read_bytes()
        for path in (folder.csv, folder.results, *folder.root.glob("experts/**/*.safe*"))
    }
    stamps = {path: path.stat().st_mtime_ns for path in before if path.suffix == ".safetensors"}
    mix(with_mix(loaded, bootstrap=0), folder.root, workers=1)
    assert {path: path.read_bytes() for path in before} == before
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps, "experts were not trained again"


@pytest.mark.parametrize("lost", ["experts/b", "mix/scores.sqlite", "mix/mix.json", "base"])
def test_it_goes_on_from_whatever_is_left(
    lost: str, found: MixResult, loaded: config.RunConfig, tmp_path: Path
) -> None:
    shutil.copytree(found.folder.parent, tmp_path / "copy")
    place = tmp_path / "copy" / lost
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    again = mix(with_mix(loaded, bootstrap=0), tmp_path / "copy", workers=1)
    assert again.candidates == found.candidates


def test_killed_at_any_progress_it_ends_in_the_same_shares(
    found: MixResult, loaded: config.RunConfig, tmp_path: Path
) -> None:
    short, out = with_mix(loaded, bootstrap=0), tmp_path / "killed"
    again = killed_every(13, lambda interrupt: mix(short, out, workers=1, progress=interrupt))
    assert again.candidates == found.candidates


def test_floors_caps_and_repetitions_hold(found: MixResult, loaded: config.RunConfig, tmp_path: Path) -> None:
    names = found.mixture.datasets
    most = names[int(np.argmax(found.mixture.weights))]
    least = names[int(np.argmin(found.mixture.weights))]
    shutil.copytree(found.folder.parent, tmp_path / "out")
    bounded = with_mix(loaded, caps={most: 0.4}, floors={least: 0.3}, bootstrap=4)
    again = mix(bounded, tmp_path / "out", workers=1)
    share = dict(zip(names, again.mixture.weights, strict=True))
    assert share[most] <= 0.4 + 1e-9
    assert share[least] >= 0.3 - 1e-9
    assert again.uncertainty is not None
    assert (again.uncertainty.choices[:, names.index(most)] <= 0.4 + 1e-9).all()
    # 4 examples a dataset, 6 drawn: at most twice each is a share of 4·r/6.
    seen = mix(with_mix(loaded, repetitions=0.6, bootstrap=0), tmp_path / "out", workers=1)
    assert max(seen.mixture.weights) <= 0.6 * 4 / 6 + 1e-9


def test_a_strong_prior_is_followed(found: MixResult, loaded: config.RunConfig, tmp_path: Path) -> None:
    prior = {"a": 0.2, "b": 0.5, "c": 0.3}
    shutil.copytree(found.folder.parent, tmp_path / "out")
    pulled = mix(with_mix(loaded, priors=(prior,), strength=1e4, bootstrap=0), tmp_path / "out", workers=1)
    assert pulled.candidates[1].kind == "prior"
    # Shares move by about the utility's slope, some tens at most, over the strength.
    np.testing.assert_allclose(pulled.mixture.weights, list(prior.values()), atol=1e-2)


def test_the_top_is_averaged_where_that_is_asked_for(
    found: MixResult, loaded: config.RunConfig, tmp_path: Path
) -> None:
    shutil.copytree(found.folder.parent, tmp_path / "out")
    again = mix(with_mix(loaded, pick="top", bootstrap=2), tmp_path / "out", workers=1)
    assert again.chosen.kind == "top"
    assert again.mixture == again.candidates[-1].mixture


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"capabilities": {"targte": 1.0}}, ConfigError, "no 'targte' (did you mean 'target'?)"),
        ({"caps": {"d": 0.5}}, ConfigError, "caps: there is no 'd'"),
        (
            {"caps": {"a": 0.2, "b": 0.2, "c": 0.2}},
            MixtureError,
            "upper bounds sum to 0.6, below 1; raise some",
        ),
        ({"floors": {"a": 0.7, "b": 0.7}}, MixtureError, "lower bounds sum to 1.4, above 1; lower some"),
        ({"floors": {"a": 1.0}}, MixtureError, "room for 1 different mixtures, wanted 24 to start from"),
        ({"priors": ({"a": 0.9, "b": 0.9},)}, ConfigError, "prior 1 must have shares that sum to 1"),
        ({"priors": ({"a": 1.0},), "strength": 1.0}, MixtureError, "a positive share for each of"),
        ({"regressor": "lightgbm-mergemix"}, InputError, "needs at least 48 scored mixtures"),
        ({"regressor": "lightgmb"}, ConfigError, "did you mean 'lightgbm'?"),
        ({"seeds": 5, "regressor": "auto"}, InputError, "auto needs more scored mixtures"),
        ({"grid": 9}, ConfigError, "a grid of 9 levels over 3 datasets has 55 mixtures"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_made(
    changes: dict[str, Any], error: type[InputError], said: str, loaded: config.RunConfig, tmp_path: Path
) -> None:
    with pytest.raises(error) as caught:
        mix(with_mix(loaded, **changes), tmp_path / "out", workers=1)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{loaded.path} [mix]: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("seeds = 4", "seeds must be a whole number of at least 5, got 4"),
        ("seds = 40", "unknown key 'seds' (did you mean 'seeds'?)"),
        ("bootstrap = -1", "bootstrap must be a whole number of at least 0"),
        ("dirichlet = 0.0", "dirichlet must be a finite number above 0, got 0.0"),
        ("strength = nan", "strength must be a finite number of at least 0"),
        ("top_k = 9000", "top_k must be at most points (8192)"),
        ('pick = "worst"', "pick must be one of best, argmax, top"),
        ("caps = [1]", "caps must give numbers by name"),
        ("priors = {a = 1}", "priors must be a list of tables"),
        ("capabilities = {target = 0}", "capabilities must be a finite number above 0"),
        ("regressor = 3", "regressor must be the name of a predictor"),
    ],
)
def test_a_wrong_table_says_what_was_wanted(line: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(CONFIG.partition("[mix]")[0] + f"[mix]\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert said in str(caught.value)
    assert f"{path} [mix]" in str(caught.value)


def test_the_table_changes_no_run(loaded: config.RunConfig) -> None:
    assert replace(loaded, mix=MixOptions()).identity == loaded.identity
