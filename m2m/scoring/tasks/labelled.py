"""Labelled items as users have them: tables with a column of labels, and folders of pictures, one a class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m2m.errors import ConfigError, DataError
from m2m.scoring.tasks.inputs import json_lines
from m2m.scoring.tasks.task_options import first
from m2m.support.csv_tables import read_rows
from m2m.support.schema import did_you_mean

#: Column of the labels: class numbers from 0, or names of classes.
LABEL = "label"
#: How transformers names classes that nobody named.
_UNNAMED = "LABEL_0"
_SHOWN = 5


@dataclass(frozen=True)
class Labelled:
    """An item: where it is from, its row, and its class, by number or name."""

    where: str
    row: Mapping[str, Any]
    label: int | str


def rows_of(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """Read the rows of JSON Lines, or of a CSV file with a header, by where they stand; at least one."""
    if path.suffix != ".csv":
        return json_lines(path)
    rows = {f"{path}, line {line}": cells for line, cells in read_rows(path, "a task's items")}
    if not rows:
        raise DataError(f"{path} has no examples: wanted a row an example")
    return rows


def labelled_rows(path: Path, limit: float | None) -> list[Labelled]:
    """Read a table of labelled items.

    Args:
        path: JSON Lines, or a CSV file with a header.
        limit: Most rows used; None for all.

    Returns:
        The items, in the table's order.

    Raises:
        DataError: If a label is neither a class number nor a name.
    """  # noqa: DOC502 - raised by what is called
    return [
        Labelled(where, row, _label(row, where)) for where, row in first(list(rows_of(path).items()), limit)
    ]


def labelled_pictures(path: Path, limit: float | None) -> list[Labelled]:
    """List labelled pictures.

    Args:
        path: A folder with a folder of pictures a class; or a table with `image`, a path from the table's own
            folder, and `label`.
        limit: Most pictures used, as many of each class of a folder as there are; None for all.

    Returns:
        The items; the path of each is its row's `image`.

    Raises:
        ConfigError: If there is nothing at the path.
        DataError: If there is no picture.
    """
    if not path.exists():
        raise ConfigError(f"cannot read the task's images {path}: No such file or directory")
    if path.is_dir():
        # One of each class after the other, so that a limit takes some of each.
        found = sorted(_in_class_folders(path), key=lambda numbered: numbered[0])
        if not found:
            raise DataError(
                f"{path} has no images: wanted a folder of images for each class, named as the class; or a "
                "table (.jsonl, .csv) with `image` and `label`"
            )
        return [item for _, item in first(found, limit)]
    items = labelled_rows(path, limit)
    for item in items:
        if not isinstance(item.row.get("image"), str) or not item.row["image"]:
            raise DataError(
                f"{item.where}: `image` must be the path of an image, got the keys {list(item.row)}"
            )
    return [
        Labelled(item.where, {**item.row, "image": path.parent / item.row["image"]}, item.label)
        for item in items
    ]


def class_numbers(items: Sequence[Labelled], classes: Mapping[str, int]) -> list[int]:
    """Find the class number of each item.

    Args:
        items: The items.
        classes: The model's classes by name.

    Returns:
        Class numbers, from 0. Names that the model does not know are numbered in their order, if the model
        has names of its own for none of its classes, and as many classes as there are names.

    Raises:
        DataError: If it is not clear which class is meant.
    """
    names = sorted({item.label for item in items if isinstance(item.label, str)})
    known = classes
    unknown = [name for name in names if name not in classes and not name.isdecimal()]
    if len(unknown) == len(names) == len(classes) and _UNNAMED in classes:
        known = {name: at for at, name in enumerate(names)}
    elif unknown:
        where = next(item.where for item in items if item.label == unknown[0])
        raise DataError(
            f"{where}: {unknown[0]!r} is none of the model's {len(classes)} classes"
            f"{did_you_mean(unknown[0], classes)}: it has {list(classes)[:_SHOWN]} …; a class's number, from "
            "0, will do too"
        )
    return [_number(item.label, known) for item in items]


def _number(label: int | str, classes: Mapping[str, int]) -> int:
    if isinstance(label, int):
        return label
    return classes[label] if label in classes else int(label)


def _label(row: Mapping[str, Any], where: str) -> int | str:
    label = row.get(LABEL)
    if (type(label) is not int or label < 0) and (not isinstance(label, str) or not label):
        raise DataError(
            f"{where}: `{LABEL}` must be a class number from 0, or a class's name, got {label!r:.80}"
        )
    return label


def _in_class_folders(path: Path) -> Iterator[tuple[tuple[int, str], Labelled]]:
    from PIL import Image

    endings = set(Image.registered_extensions())
    for folder in sorted(folder for folder in path.iterdir() if folder.is_dir()):
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in endings)
        for number, file in enumerate(files):
            yield (number, folder.name), Labelled(str(file), {"image": file}, folder.name)
