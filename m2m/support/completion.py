"""Words that a shell completes: every verb and option of a program, written out by shtab."""

from __future__ import annotations

import argparse
from pathlib import Path

import shtab


def completion(parser: argparse.ArgumentParser, shell: str) -> str:
    """Write a completion script, which asks nothing of the program when it completes.

    Args:
        parser: A program's parser with all of its verbs; where they take paths, files are completed.
        shell: `bash`, `zsh` or `fish`.

    Returns:
        The script's text.
    """
    _complete_paths(parser)
    return shtab.complete(parser, shell)


def _complete_paths(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                _complete_paths(verb)
        elif action.type is Path or "PATH" in str(action.metavar):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
