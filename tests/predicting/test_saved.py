"""A saved predictor predicts the same bits once it is read, and a file that is none is one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import m2m
from m2m.errors import ConfigError, InputError
from m2m.predicting import FAMILIES, FittedPredictor, Predictor, fit_predictor, load_predictor
from m2m.predicting.boosting import BoostedTrees, TreeModel
from m2m.predicting.gaussian_process import GaussianModel
from m2m.predicting.tree_text import booster_of, tree_fault, trees_of
from m2m.support.arrays import Floats

DOMAINS = ("law", "code", "math")
#: Boosted trees stand once: the others have the same parts, but many more trees, which take seconds.
LAWS = [name for name in FAMILIES if name not in ("lightgbm", "lightgbm-regmix")]


def table(rows: int, seed: int, domains: int = 3) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    x = rng.dirichlet(np.full(domains, 0.6), rows).round(3) + 0.0
    x /= x.sum(axis=1, keepdims=True)
    return x, 2 + (1 + x @ np.array([5.0, 2.0, 0.5])[:domains]) ** -0.5 + rng.normal(0, 0.003, rows)


def fitted(predictor: Predictor) -> FittedPredictor:
    return FittedPredictor("loss", DOMAINS, (), False, predictor)


@cache
def ridge() -> FittedPredictor:
    return fitted(fit_predictor(*table(20, 0), "ridge"))


def assert_same_bits(one: Predictor, other: Predictor, x: Floats) -> None:
    ours, theirs = one.predict(x), other.predict(x)
    for name in ("mean", "std", "low", "high"):
        assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes(), name


@settings(max_examples=3, deadline=None)
@pytest.mark.parametrize("name", LAWS)
@given(seed=st.integers(0, 999), unit=st.sampled_from([1e-9, 1.0, 1e12]))
def test_saved_and_read_it_predicts_the_same_bits(
    name: str, seed: int, unit: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    x, y = table(2 * FAMILIES[name].rows_needed(3) + 2 + seed % 9, seed)
    predictor = fit_predictor(np.asfortranarray(x), unit * y, name, seed=seed, fold_count=2)
    path = tmp_path_factory.mktemp("saved") / "p.json"
    fitted(predictor).save(path)
    again = load_predictor(path)
    new = np.vstack([table(40, seed + 1)[0], np.eye(3)])
    assert_same_bits(predictor, again.predictor, new)
    assert again.predictor.spearman == predictor.spearman
    first = path.read_bytes()
    again.save(path)
    assert path.read_bytes() == first


def test_a_stack_too(tmp_path: Path) -> None:
    x, y = table(30, 3)
    predictor = fit_predictor(x, y, fold_count=3)
    fitted(predictor).save(tmp_path / "p.json")
    assert_same_bits(predictor, load_predictor(tmp_path / "p.json").predictor, table(40, 4)[0])


def test_the_process_has_its_uncertainty_again(tmp_path: Path) -> None:
    one = fitted(fit_predictor(*table(20, 0), "gp"))
    one.save(tmp_path / "p.json")
    ours, theirs = (each.predictor.fitted.models[0] for each in (one, load_predictor(tmp_path / "p.json")))
    assert isinstance(ours, GaussianModel)
    assert isinstance(theirs, GaussianModel)
    assert ours.std(np.eye(3)).tobytes() == theirs.std(np.eye(3)).tobytes()


def test_equal_scores(tmp_path: Path) -> None:
    fitted(fit_predictor(table(20, 0)[0], np.full(20, 0.7), "ridge")).save(tmp_path / "p.json")
    assert (load_predictor(tmp_path / "p.json").predictor.predict(np.eye(3)).mean == 0.7).all()


def _set(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = to

    return change


MODEL = ("fitted", "models", 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("format", to="gguf"), "its format is 'gguf', wanted 'm2m predictor'"),
        (_set("version", to=2), r"has version 2 of its format, this m2m \(.*\) reads 1"),
        (lambda content: content.pop("residuals"), "residuals is missing"),
        (lambda content: content["fitted"].pop("weights"), "fitted: weights is missing"),
        (_set("spearmen", to={}), "unknown key 'spearmen' .did you mean 'spearman'"),
        (_set(*MODEL, "slope", to=1.0), "unknown key 'slope'"),
        (_set("residuals", 3, to=float("nan")), r"residuals\[3\] is nan, wanted a finite number"),
        (_set("residuals", 3, to=-1.0), "a residual of at least 0"),
        (_set("fold_of", 0, to=5), "fold_of names a fold that is none of 5"),
        (_set("fold_of", 0, to=-1), "fold_of names a fold that is none of 5"),
        (_set("fold_of", to=[]), "a fold for each scored mixture"),
        (_set("domains", to=["law", "law", "code"]), "wanted one or more different names"),
        (_set("domains", to=["law", "code"]), "operands could not be broadcast"),
        (_set("unseen", to=["art"]), "unseen names 'art', which is no domain"),
        (_set(*MODEL, "kind", to="os.system"), r"models\[0\].kind is 'os.system', which is no model"),
        (_set(*MODEL, "kind", to="gaussian process"), r"models\[0\]: .* is missing"),
        (_set(*MODEL, "features", to={"kind": "constant", "value": 1.0}), "not callable"),
        (_set(*MODEL, "coefficients", 1, to="2"), r"coefficients\[1\] is '2', wanted a number"),
        (_set(*MODEL, "coefficients", to=[[1.0], [1.0, 2.0]]), "an array at .*coefficients"),
        (_set(*MODEL, "coefficients", to=[]), "is not a predictor"),
        (_set(*MODEL, "scale", 0, to=0.0), "not a finite number a mixture"),
        (_set(*MODEL, "features", to={"kind": "logarithms", "floor": -1.0}), "is not a predictor"),
    ],
)
def test_a_file_that_is_none_is_one_line(
    change: Callable[[dict[str, Any]], None], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "p.json"
    ridge().save(path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=said) as raised:
        load_predictor(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"a,b\n1,2\n", b"[1]", b'{"format": "m2m pre'])
def test_no_json_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_bytes(content)
    with pytest.raises(InputError, match=r"p\.json is not a predictor that `m2m predict --save` wrote: "):
        load_predictor(tmp_path / "p.json")


def stump(**changed: list[Any]) -> dict[str, list[Any]]:
    split = {"split_feature": [0], "threshold": [0.5], "decision_type": [2], "left_child": [-1]}
    return {**split, "right_child": [-2], "leaf_value": [1.0, 2.0], **changed}


def test_trees_are_made_of_their_numbers() -> None:
    booster = booster_of([stump(), stump(leaf_value=[0.0, 0.25])], 3)
    np.testing.assert_array_equal(booster.predict(np.eye(3)), [2.25, 1.0, 1.0])


def test_trees_without_a_split_and_with_many_predict_as_fitted() -> None:
    x, y = table(90, 1)
    for settings_ in (
        {"n_estimators": 30, "min_child_samples": 2},
        {"n_estimators": 3, "min_child_samples": 90},
    ):
        model = BoostedTrees(settings_)(x, y, 0)
        assert isinstance(model, TreeModel)
        again = booster_of(trees_of(model.booster), 3)
        assert again.predict(x).tobytes() == model.booster.predict(x).tobytes()


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        (stump(leaf_value=[]), "one leaf more"),
        (stump(threshold=[]), "one leaf more"),
        (stump(split_feature=[3]), "none of 3"),
        (stump(split_feature=[-1]), "none of 3"),
        (stump(decision_type=[1]), "unknown kind"),
        (stump(left_child=[0]), "hang together"),
        (stump(right_child=[-1]), "hang together"),
        (stump(right_child=[-3]), "hang together"),
        (stump(right_child=[1000]), "hang together"),
    ],
)
def test_what_is_no_tree_never_reaches_lightgbm(tree: dict[str, list[Any]], said: str) -> None:
    assert tree_fault(stump(), 3) is None
    assert said in str(tree_fault(tree, 3))


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    ridge().save(tmp_path / "p.json")
    return tmp_path / "p.json"


def test_domains_come_in_any_order_and_must_be_the_predictors(saved: Path) -> None:
    at = pd.DataFrame(table(5, 9)[0], columns=list(DOMAINS))
    straight, turned = m2m.predict(load=saved, at=[at, at[["math", "law", "code"]]]).tables
    pd.testing.assert_frame_equal(straight, turned)
    with pytest.raises(InputError, match="no column 'math'"):
        m2m.predict(load=saved, at=at.rename(columns={"math": "maths"}))


def test_a_domain_that_was_in_no_mixture_is_warned_of(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = FittedPredictor("loss", DOMAINS, ("math",), False, ridge().predictor)
    one.save(saved)
    m2m.predict(load=saved, at=pd.DataFrame(np.eye(3), columns=list(DOMAINS)))
    assert "'math' is in no scored mixture" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "mixtures and scores and target: missing; .* or was fitted before: load"),
        ({"mixtures": "x.csv", "target": "loss"}, "scores: missing"),
        ({"load": "p.json", "target": "loss"}, "load is a predictor that is fitted: leave out target"),
        ({"load": "p.json", "save": "q.json"}, "leave out save"),
        ({"load": "p.json", "at": "x.csv", "out": "p.json"}, "is an input, p.json"),
    ],
)
def test_what_to_fit_to_or_what_was_fitted(saved: Path, arguments: dict[str, Any], said: str) -> None:
    before = saved.read_bytes()
    with pytest.raises(ConfigError, match=said):
        m2m.predict(**arguments)
    assert [path.name for path in saved.parent.iterdir()] == ["p.json"]
    assert saved.read_bytes() == before
