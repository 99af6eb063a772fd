"""docs/merge_methods.md names every method with its parameters and defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from m2m.merging.methods import METHODS

DOCS = Path(__file__).parents[3] / "docs" / "merge_methods.md"


@pytest.mark.parametrize("name", METHODS)
def test_a_row_for_every_method(name: str) -> None:
    method = METHODS[name]
    rows = [
        line.split(" | ")
        for line in DOCS.read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| {name} |")
    ]
    row = next(cells for cells in rows if len(cells) == 6)
    assert row[1] == method.kind
    assert row[2] == {"ignored": "donor only"}.get(method.base, method.base)
    if row[4].startswith("as "):
        return
    for parameter in method.parameters:
        if parameter.effect:
            assert (f"**{parameter.name}**" in row[4]) == parameter.required
            assert parameter.name in row[4]
