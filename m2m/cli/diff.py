"""Say how two models differ, tensor by tensor: which are equal, how far apart others lie, what one has alone.

Both are read once, streaming. For each tensor: ‖B − A‖ / ‖A‖, the cosine of A and B, and the largest single
difference. SECOND may be an adapter, which goes on top of FIRST.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from m2m.support.shared_options import add_memory, add_threads

if TYPE_CHECKING:
    from m2m.merging.compare import Difference, ModelDifference

HELP = "say how two models differ, tensor by tensor"
#: Tensors that are shown unless all are asked for.
_SHOWN = 15


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("first", metavar="FIRST", help="a checkpoint, MODEL+ADAPTER, or a hub id")
    parser.add_argument("second", metavar="SECOND", help="another, or an adapter on top of FIRST")
    parser.add_argument(
        "--all", action="store_true", help=f"show all tensors, not the {_SHOWN} that differ most"
    )
    add_memory(parser, "256MiB")
    add_threads(parser)


def execute(args: argparse.Namespace) -> int:
    """Compare."""
    from m2m.cli.output import print_json
    from m2m.merging.compare import diff
    from m2m.support.shown_progress import progress

    found = diff(
        args.first,
        args.second,
        memory=args.memory,
        threads=args.threads,
        progress=progress(quiet=args.quiet, unit="B"),
    )
    if args.json:
        print_json(found.to_dict())
    else:
        _tell(found, most=len(found.tensors) if args.all else _SHOWN)
    return 0


def _tell(found: ModelDifference, most: int) -> None:
    from m2m.cli.output import print_notes, print_table

    print_notes((*found.notes, *found.doubts))
    for model, names in ((found.first, found.only_first), (found.second, found.only_second)):
        if names:
            print(f"only in {model}: {_some(names, most)}")
    for name, one, other in found.reshaped[:most]:
        print(f"{name}: shape {list(one)} and {list(other)}")
    changed = sorted(
        (tensor for tensor in found.tensors if tensor.changed), key=lambda each: each.relative, reverse=True
    )
    if changed:
        rows = [[tensor.name, *_cells(tensor)] for tensor in changed[:most]]
        if found.whole is not None:
            rows.append(["all tensors as one vector", *_cells(found.whole)])
        print_table([["tensor", "|B - A| / |A|", "cosine", "largest", "elements that differ"], *rows])
    left = f", {most} shown" if len(changed) > most else ""
    equal = len(found.tensors) - len(changed)
    print(f"{equal} of {len(found.tensors)} tensors are equal, {len(changed)} differ{left}")


def _cells(difference: Difference) -> list[str]:
    cosine = "-" if difference.cosine is None else f"{difference.cosine:.6f}"
    largest = "-" if difference.largest is None else f"{difference.largest:.3g}"
    share = difference.changed / max(difference.elements, 1)
    return [f"{difference.relative:.3g}", cosine, largest, f"{share:.1%} of {difference.elements:,}"]


def _some(names: tuple[str, ...], most: int) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
