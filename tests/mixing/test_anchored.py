"""Anchored experts: which merge stands for which mixture, and what `m2m mix` does with `anchor`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.linear_setup import run_config
from helpers.mix_configs import with_mix, written
from hypothesis import given
from hypothesis import strategies as st

from m2m import mix, setups
from m2m.checkpoint import Checkpoint
from m2m.errors import ConfigError, MixtureError
from m2m.mixing import MixResult
from m2m.mixing.anchored import anchors, reached, standing_for
from m2m.mixture import EPSILON, Mixture
from m2m.pipeline import config
from m2m.pipeline.data_read import data_lines
from m2m.pipeline.report.write import write_report
from m2m.pipeline.run_folder import RunFolder
from m2m.setups.rows.inventory import Inventory, Read
from m2m.testing.strategies import mixtures
from m2m.training import TrainRecipe

SHARE = 0.5
CONFIG = (
    run_config("seed = 3") + '[mix]\nregressor = "gp"\nseeds = 12\npoints = 256\ntop_k = 5\nbootstrap = 0\n'
)


@given(mixtures("abcd"), st.floats(0.05, 1.0))
def test_a_merge_that_stands_for_a_mixture_reaches_it(mixture: Mixture, share: float) -> None:
    weights = standing_for(mixture, share).weights
    seen = np.array([expert.weights for expert in anchors("abcd", share)])
    # N products of weights of at most (1 + 1/N)/β, each rounded a few times, and their sum.
    error = 8 * len(weights) * EPSILON / share
    assert seen.T @ weights == pytest.approx(mixture.weights, abs=error)
    assert sum(weights) == pytest.approx(1, abs=error)


@given(st.integers(2, 6), st.floats(0.05, 1.0))
def test_an_expert_alone_stands_for_what_it_was_trained_on(count: int, share: float) -> None:
    for at, mixture in enumerate(anchors([f"d{n}" for n in range(count)], share)):
        alone = np.eye(count)[at]
        assert standing_for(mixture, share).weights == pytest.approx(alone, abs=8 * count * EPSILON / share)


def test_plain_experts_stand_for_themselves() -> None:
    mixture = Mixture(("a", "b", "c"), (0.2, 0.3, 0.5))
    assert standing_for(mixture, 1) is mixture
    assert anchors("abc", 1) == [Mixture.subset("abc", name) for name in "abc"]


def test_what_anchored_experts_are_trained_on() -> None:
    rows = anchors(["a", "b"], 0.5)
    assert [row.weights for row in rows] == [(0.75, 0.25), (0.25, 0.75)]
    assert reached(rows, (0.9, 0.1)).weights == pytest.approx((0.7, 0.3))
    assert anchors(["a", "b"], 0.5, Mixture.subset(["a", "b"], ["b"]))[0].weights == (0.5, 0.5)
    with pytest.raises(MixtureError, match="own share must be above 0 and at most 1, got 0"):
        anchors(["a", "b"], 0)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> config.RunConfig:
    return written(tmp_path_factory.mktemp("config"), CONFIG)


@pytest.fixture(scope="module")
def found(loaded: config.RunConfig, tmp_path_factory: pytest.TempPathFactory) -> MixResult:
    [own, *_] = anchors("abc", SHARE)
    anchored = with_mix(loaded, anchor=SHARE, priors=(own.shares,))
    return mix(anchored, tmp_path_factory.mktemp("run") / "out", workers=1)


def _losses(found: MixResult, loaded: config.RunConfig) -> list[float]:
    """Losses of the candidates' merged models, by hand."""
    setup, folder = setups.load(loaded.setup, loaded.root, Path()), RunFolder(found.folder.parent)
    thetas = np.array(
        [Checkpoint(folder.model(one, 3)).state()["theta"].numpy() for one in anchors("abc", SHARE)]
    )
    x, y = (tensor.numpy() for tensor in setup.targets["target"].validation.tensors)
    weights = [(np.array(one.mixture.weights) - (1 - SHARE) / 3) / SHARE for one in found.candidates]
    return [float(((x @ (row @ thetas) - y) ** 2 / 2).mean()) for row in weights]


def test_candidates_are_merges_of_the_anchored_experts(found: MixResult, loaded: config.RunConfig) -> None:
    measured = [candidate.measured["target"] for candidate in found.candidates]
    assert measured == pytest.approx(_losses(found, loaded), rel=1e-9)
    assert not (found.folder.parent / "experts").exists(), "no plain expert is trained"


def test_where_an_expert_was_trained_the_merge_is_the_trained_model(
    found: MixResult, loaded: config.RunConfig
) -> None:
    prior = next(candidate for candidate in found.candidates if candidate.kind == "prior")
    setup, folder = setups.load(loaded.setup, loaded.root, Path()), RunFolder(found.folder.parent)
    theta = Checkpoint(folder.model(prior.mixture, 3)).state()["theta"].numpy()
    x, y = (tensor.numpy() for tensor in setup.targets["target"].validation.tensors)
    assert prior.measured["target"] == pytest.approx(float(((x @ theta - y) ** 2 / 2).mean()), rel=1e-9)


def test_a_folder_of_plain_experts_serves_anchored_ones_too(
    found: MixResult, loaded: config.RunConfig, tmp_path: Path
) -> None:
    mix(loaded, tmp_path / "out", workers=1)
    again = mix(with_mix(loaded, anchor=SHARE, priors=found.options["priors"]), tmp_path / "out", workers=1)
    assert again.mixture == found.mixture
    assert [c.measured for c in again.candidates] == [c.measured for c in found.candidates]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("anchor = 0", "anchor must be a finite number above 0, got 0"),
        ("anchor = 1.5", "anchor is a share from 0.01 (below, experts are all alike) to 1, got 1.5"),
        ("anchor = 1e-9", "anchor is a share from 0.01 (below, experts are all alike) to 1, got 1e-09"),
        ("anchor = true", "anchor must be a finite number above 0, got True"),
        ("anchor = 0.5\npairs = true", "pairs correct merges of plain experts: leave pairs or anchor out"),
    ],
)
def test_a_wrong_anchor_says_what_was_wanted(lines: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(CONFIG + lines)
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert str(caught.value) == f"{path} [mix]: {said}"


def test_experts_that_a_configuration_names_are_plain(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    named = "experts = {a = 'a', b = 'b', c = 'c'}\n[setup]"
    path = tmp_path / "run.toml"
    path.write_text((CONFIG + "anchor = 0.5\n").replace("[setup]", named))
    said = r"anchor says how experts are trained, and \[train\] names experts that are there"
    with pytest.raises(ConfigError, match=said):
        mix(config.load(path), tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


def test_what_anchored_experts_see_and_do_not_keep_is_said(loaded: config.RunConfig, tmp_path: Path) -> None:
    wanted = replace(loaded, train=replace(loaded.train, optimizer="adamw", save_moments=True))
    plain = mix(wanted, tmp_path / "plain", workers=1)
    anchored = mix(with_mix(wanted, anchor=SHARE), tmp_path / "out", workers=1)
    said = "save_moments keeps those of plain experts: anchored ones have none"
    assert said in anchored.notes
    assert said not in plain.notes
    write_report(tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Merged models are of anchored experts: each trained for 0.5 on its own data" in page


def test_epochs_of_anchored_experts_are_of_what_they_draw() -> None:
    inventory = Inventory([Read("dataset", "a", "train", 10), Read("dataset", "b", "train", 40)])
    recipe = TrainRecipe(steps=5, batch=4, learning_rate=0.1)
    assert data_lines(inventory, recipe)[-1].endswith("each: 2 of a, 0.5 of b")
    assert data_lines(inventory, recipe, anchors("ab", 0.5))[-1].endswith("each: 1.5 of a, 0.375 of b")
