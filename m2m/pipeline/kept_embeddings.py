"""Mean embeddings that the similarity baseline made, kept in the run folder: an interruption loses none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from m2m.errors import RunFolderError
from m2m.scoring.tasks.targets import MOST_EXAMPLES
from m2m.support.content_keys import content_key
from m2m.support.doors import read_json
from m2m.support.files import write_atomically


class KeptEmbeddings(dict[str, list[float]]):
    """Mean embeddings by part of the set-up, `dataset NAME` or `target NAME`; each is written when it is set.

    Args:
        path: The file; made when the first is set.
        base: Content key of the base model.
        contents: Content hashes of the set-up's parts.
    """

    def __init__(self, path: Path, base: str, contents: Mapping[str, str]) -> None:
        self._path = path
        made_from = {part: content_key(base, key, MOST_EXAMPLES) for part, key in contents.items()}
        self._made_from = made_from
        shape = {str: {"made_from": str, "mean": [float]}}
        there = read_json(path, "what a run keeps there", RunFolderError, shape) if path.exists() else {}
        super().__init__(
            {part: kept["mean"] for part, kept in there.items() if kept["made_from"] == made_from.get(part)}
        )

    def __setitem__(self, part: str, mean: list[float]) -> None:
        super().__setitem__(part, mean)
        content = {part: {"made_from": self._made_from[part], "mean": mean} for part, mean in self.items()}
        write_atomically(self._path, json.dumps(content))
