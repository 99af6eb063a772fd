"""Loading a set-up by its kind, the user's own included."""

import pytest

from m2m import setups
from m2m.errors import ConfigError

FACTORY = """
import sys
from helpers.linear_setup import linear_setup

def make(spec):
    setup = linear_setup(seed=1)
    setup.datasets = dict(zip(spec["datasets"], setup.datasets.values()))
    setup.targets = {spec["target"]: setup.targets["target"]}
    setup.metrics = {spec["metric"]: False}
    setup.colour = "red"
    return setup

def leave(spec):
    sys.exit(0)

def nothing(spec):
    return None

def untold(spec):
    setup = linear_setup(seed=1)
    setup.metrics = {"loss": "lower"}
    return setup

def leaves_later(spec):
    setup = linear_setup(seed=1)
    setup.judge = lambda output, batch: sys.exit(0)
    return setup
"""


def test_a_users_own_set_up_is_made_by_a_function_in_a_file_or_a_module(tmp_path, monkeypatch):
    (tmp_path / "own_setup_in_a_file.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(str(tmp_path))
    for factory in ("own_setup_in_a_file.py:make", "own_setup_in_a_file:make"):
        spec = {"kind": "python", "factory": factory, "datasets": "ab", "target": "t", "metric": "loss"}
        setup = setups.load(spec, tmp_path, tmp_path)
        assert list(setup.datasets) == ["a", "b"]
        assert setup.colour == "red"
        assert list(setup.build().state_dict()) == list(setup.base_state(tmp_path))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"datasets": ["a", "../b"]}, "dataset name '../b'"),
        ({"datasets": ["a", "A"]}, "dataset names 'a' and 'A'"),
        ({"datasets": ["a", "base"]}, "no dataset can be called 'base'"),
        ({"target": "t/u"}, "target name 't/u'"),
        ({"metric": "loss\n"}, "metric name"),
    ],
)
def test_names_of_a_users_own_set_up_follow_the_rule(tmp_path, change, said):
    (tmp_path / "named_set_up.py").write_text(FACTORY)
    spec = {"kind": "python", "factory": "named_set_up.py:make", "datasets": "ab", "target": "t"}
    with pytest.raises(ConfigError, match=said):
        setups.load({**spec, "metric": "loss", **change}, tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("leave", r"\[setup\] factory own.py:leave calls sys.exit\(0\)"),
        ("nothing", "own.py:nothing must return a set-up, got None, which has no .*'judge'"),
        ("untold", "own.py:untold: `metrics` must say which are better when higher, .* got .*'lower'"),
    ],
)
def test_a_users_own_set_up_that_is_none(tmp_path, name, message):
    (tmp_path / "own.py").write_text(FACTORY)
    with pytest.raises(ConfigError, match=message):
        setups.load({"kind": "python", "factory": f"own.py:{name}"}, tmp_path, tmp_path)


def test_a_users_own_set_up_that_leaves_later(tmp_path):
    (tmp_path / "own.py").write_text(FACTORY)
    setup = setups.load({"kind": "python", "factory": "own.py:leaves_later"}, tmp_path, tmp_path)
    with pytest.raises(ConfigError, match=r"own.py:leaves_later: judge calls sys.exit\(0\)"):
        setup.judge(None, ())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "`kind` must be one of language, vision, python; got None"),
        ({"kind": "langauge"}, "did you mean 'language'"),
        ({"kind": "python"}, "factory must be FILE.py:FUNCTION"),
        ({"kind": "python", "factory": "gone.py:make"}, "no file .*gone.py"),
        ({"kind": "python", "factory": "no_such_module_here:make"}, "No module named 'no_such_module_here'"),
        ({"kind": "python", "factory": "json:make"}, "json has no function 'make'"),
    ],
)
def test_a_bad_table_is_one_clear_error(tmp_path, spec, message):
    with pytest.raises(ConfigError, match=message):
        setups.load(spec, tmp_path, tmp_path)
