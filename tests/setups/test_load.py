"""Loading a set-up by its kind, the user's own included."""

import pytest

from m2m import setups
from m2m.errors import ConfigError

FACTORY = """
from types import SimpleNamespace

def make(spec):
    names = dict.fromkeys(spec["datasets"])
    return SimpleNamespace(datasets=names, targets={spec["target"]: None}, metrics={spec["metric"]: False})
"""


def test_a_users_own_set_up_is_made_by_a_function_in_a_file_or_a_module(tmp_path, monkeypatch):
    (tmp_path / "own_setup_in_a_file.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(str(tmp_path))
    for factory in ("own_setup_in_a_file.py:make", "own_setup_in_a_file:make"):
        spec = {"kind": "python", "factory": factory, "datasets": "ab", "target": "t", "metric": "loss"}
        assert list(setups.load(spec, tmp_path, tmp_path).datasets) == ["a", "b"]


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
