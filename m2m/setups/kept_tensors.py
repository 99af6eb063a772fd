"""Tensors that took work to make, kept in the cache: whole or not there, and never trusted to be whole."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from m2m.checkpoint.pickled import load_pickled
from m2m.errors import DataError
from m2m.support.doors import reading, require_file
from m2m.support.files import write_atomically


def keep_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors so that a reader finds the whole file or none."""
    content = io.BytesIO()  # torch does not say what the system says when it cannot write a file
    torch.save(dict(tensors), content)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())


def kept_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file of `keep_tensors`; refuses a damaged one."""
    what = "a file of tensors that m2m kept (delete it: it is made again)"
    tensors: dict[str, Tensor] = kept_content(path, what)
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise DataError(f"{path} is not {what}")
    return tensors


def kept_content(path: Path, what: str) -> Any:
    """Read what torch saved, by its checksums, which torch itself does not look at; `what` for messages."""
    require_file(path, what, DataError)
    with reading(what, path, DataError):
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise DataError(f"{path} is not {what}: the checksum of {damaged!r} is another")
        return load_pickled(path, what, DataError)
