import sys

import pytest

from m2m.data.registries import run_client
from m2m.errors import DataError


def test_output_of_a_client_comes_back(tmp_path):
    (tmp_path / "here").touch()
    program = "import os; print(os.listdir())"
    assert run_client([sys.executable, "-c", program], tmp_path, "list") == "['here']\n"


def test_failure_carries_the_last_words(tmp_path):
    program = "import sys; print('chatter'); sys.exit('no such version')"
    with pytest.raises(DataError, match=r"cannot get pears: .* ended with 1: no such version"):
        run_client([sys.executable, "-c", program], tmp_path, "get pears")


def test_missing_client_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot get pears: it needs the program 'no-such-client'"):
        run_client(["no-such-client", "download"], tmp_path, "get pears")
