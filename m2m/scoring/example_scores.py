"""Every example's score as a long table: a row a candidate × task × metric × example, as CSV or parquet."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from m2m.errors import ConfigError
from m2m.support.csv_tables import write_frame
from m2m.support.extras import installing
from m2m.support.files import replacing

if TYPE_CHECKING:
    import pandas as pd

    from m2m.scoring.table import ScoreTable


def check_format(path: Path) -> None:
    """Check that a file of this name says how to write it, before work is done for it.

    Args:
        path: The file: `.csv`, or `.parquet` where pyarrow is installed.

    Raises:
        ConfigError: If it cannot.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"{path}: per-example scores are written as .csv or .parquet")
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise ConfigError(f"{path}: parquet needs pyarrow: {installing('parquet')}, or name a .csv")


def export_examples(table: ScoreTable, path: Path) -> None:
    """Write all values of a score table; the file appears whole or not at all.

    Args:
        table: The table.
        path: The file, as `check_format` wants it; replaced if it is there.
    """
    check_format(path)
    frame = example_frame(table)
    if path.suffix == ".csv":
        write_frame(path, frame)
    else:
        with replacing(path) as file:
            frame.to_parquet(file, index=False)


def example_frame(table: ScoreTable) -> pd.DataFrame:
    """Read all values of a score table.

    Args:
        table: The table.

    Returns:
        Columns key, candidate, origin, seed, task, split, metric, example (number) and value.
    """
    import pandas as pd

    said = ("key", "candidate", "origin", "seed", "task", "split", "metric")
    parts = [
        pd.DataFrame({name: getattr(row, name) for name in said} | {"value": row.examples})
        .rename_axis("example")
        .reset_index()
        for row in table.rows()
    ]
    columns = [*said, "example", "value"]
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return frame[columns].astype({"seed": "Int64", "example": "int64", "value": "float64"})
