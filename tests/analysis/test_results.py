"""What goes into a JSON file: nothing that JSON does not have, and nothing half written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.results import plain, write_results


def test_plain() -> None:
    nested = {1: (np.array([1.5, np.nan]), [np.float64(2), float("inf")]), "text": None}
    assert plain(nested) == {"1": [[1.5, None], [2.0, None]], "text": None}


def test_files(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [1]})
    write_results(tmp_path / "new", "name", {"x": np.float64(1)}, {"": table, "more": table})
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "name.csv",
        "name.json",
        "name_more.csv",
    ]
    assert json.loads((tmp_path / "new" / "name.json").read_text()) == {"x": 1.0}
    assert (tmp_path / "new" / "name.csv").read_text() == "a\n1\n"
