"""Say what m2m finds on this machine: versions, compiled module, threads, memory, GPU, registry clients."""

from __future__ import annotations

import argparse

HELP = "say what m2m finds on this machine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb.

    Args:
        parser: The verb's parser.
    """


def execute(args: argparse.Namespace) -> int:
    """Examine the machine.

    Args:
        args: The parsed options.

    Returns:
        0, or 1 if the compiled module, without which nothing merges, cannot be loaded.
    """
    from m2m.cli.output import print_json, print_table
    from m2m.doctor import examine

    finding = examine()
    if args.json:
        print_json(finding)
    else:
        print_table([[name, _text(value)] for name, value in _flat(finding)])
    return 0 if "error" not in finding["extension"] else 1


def _flat(table: dict[str, object], prefix: str = "") -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for name, value in table.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, value))
    return rows


def _text(value: object) -> str:
    if value is None or value == []:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str(value)
