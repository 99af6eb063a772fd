"""Say what a model on disk is: class, parameters, types, files, tokenizer, adapter; no weight is read."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from m2m.merging.describe import ModelInfo

HELP = "say what a model on disk is"
#: Side files that are named.
_NAMED = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("model", metavar="MODEL", help="a checkpoint, a LoRA adapter, or a hub id")


def execute(args: argparse.Namespace) -> int:
    """Look."""
    from m2m.cli.output import print_json, print_table
    from m2m.merging.describe import info

    found = info(args.model)
    if args.json:
        print_json(found.to_dict())
        return 0
    print_table(list(_lines(found)))
    print()
    rows = [
        [each.name, str(each.count), str(list(each.shape)), each.dtype, f"{each.elements:,}"]
        for each in found.families
    ]
    print_table([["tensors", "count", "shape", "type", "parameters"], *rows])
    return 0


def _lines(found: ModelInfo) -> Iterator[list[str]]:
    from m2m.support.units import format_bytes

    if found.adapter is not None:
        adapter = found.adapter
        whole = f", {adapter.whole} tensors whole" if adapter.whole else ""
        yield [
            "adapter",
            f"LoRA of {adapter.modules} modules, rank {adapter.rank}, scale {adapter.scale:g}{whole}",
        ]
        yield ["base", adapter.base or "not said"]
    elif found.architecture:
        yield ["class", found.architecture]
    if found.sizes:
        yield ["sizes", ", ".join(f"{name} {size:,}" for name, size in found.sizes.items())]
    dtypes = ", ".join(dict.fromkeys(each.dtype for each in found.families))
    yield ["parameters", f"{found.parameters:,} in {found.tensors} tensors of {dtypes}"]
    many = f"{len(found.files)} files" if len(found.files) > 1 else found.files[0]
    yield ["weights", f"{format_bytes(found.nbytes)} in {many}"]
    for name, kept in found.tied.items():
        yield ["tied", f"{name} is {kept}"]
    template = ", with a chat template" if found.has_chat_template else ""
    if found.tokens is not None:
        yield ["tokenizer", f"{found.tokens:,} tokens{template}"]
    if found.side_files:
        more = f" and {len(found.side_files) - _NAMED} more" if len(found.side_files) > _NAMED else ""
        yield ["beside them", ", ".join(found.side_files[:_NAMED]) + more]
    if found.recipe is not None:
        yield ["merged", f"by m2m: {found.recipe.get('merge_method', 'slices')}"]
