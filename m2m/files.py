"""Files that are replaced in one step."""

from __future__ import annotations

from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file's content: a reader sees the old or the new, never a part.

    Args:
        path: The file.
        content: Its new content; text is written as UTF-8.
    """
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    temporary.replace(path)
