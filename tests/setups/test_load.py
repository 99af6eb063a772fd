"""Loading a set-up by its kind, the user's own included."""

import pytest

from m2m import setups
from m2m.errors import ConfigError

FACTORY = "def make(spec):\n    return ('made from', spec['colour'])\n"


def test_a_users_own_set_up_is_made_by_a_function_in_a_file_or_a_module(tmp_path, monkeypatch):
    (tmp_path / "own_setup_in_a_file.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(str(tmp_path))
    for factory in ("own_setup_in_a_file.py:make", "own_setup_in_a_file:make"):
        spec = {"kind": "python", "factory": factory, "colour": "red"}
        assert setups.load(spec, tmp_path, tmp_path) == ("made from", "red")


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
