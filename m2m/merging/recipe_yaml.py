"""The YAML of a merge recipe, with repeated keys refused (plain YAML keeps the last one in silence)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from m2m.errors import RecipeError


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses repeated keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag != "tag:yaml.org,2002:merge" and key_node.value in seen:
                line = key_node.start_mark.line + 1
                raise RecipeError(f"line {line}: the key {key_node.value!r} is there twice")
            seen.add(str(key_node.value))
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML document that is a mapping.

    Args:
        path: The file.

    Returns:
        The document.

    Raises:
        RecipeError: If the file cannot be read or is not that.
    """
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except OSError as error:
        raise RecipeError(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RecipeError("is not UTF-8 text") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"is not a YAML document: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise RecipeError(f"must be a YAML mapping, got {type(document).__name__}")
    return document
