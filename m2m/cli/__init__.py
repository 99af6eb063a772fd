"""The command line: `m2m VERB ...`, one file a verb, light until a verb does its work."""

from m2m.cli.entry import main

__all__ = ["main"]
