"""What comparing datasets with targets takes: `python benchmarks/overlap.py [--documents N] [--words N]`.

Two datasets of so many documents each, of words drawn as in natural text (Zipf), every one behind an
instruction template; a target of 2,000 documents, a hundredth of them copied from a dataset. User CPU seconds
of one core, and the memory that is added to the documents' own.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from m2m.setups.rows.contamination import contamination_of
from m2m.setups.rows.items import Item
from m2m.setups.rows.overlap import Judged
from m2m.support.process_memory import peak_resident_bytes

TEMPLATE = "Below is an instruction that describes a task. Write a response that appropriately completes it:"
TARGET = 2000


def documents(draw: np.random.Generator, many: int, words: int, name: str) -> list[Item]:
    """Draw documents; a tenth of each is its question."""
    numbers = draw.zipf(1.3, size=(many, words)) % 50_000
    texts = [[f"w{number:x}" for number in row] for row in numbers.tolist()]
    cut = words // 10
    return [
        Item(f"{TEMPLATE} {' '.join(text[:cut])}", " ".join(text[cut:]), f"{name}, line {at}")
        for at, text in enumerate(texts, start=1)
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=50_000, metavar="N", help="documents a dataset")
    parser.add_argument("--words", type=int, default=170, metavar="N", help="words a document")
    args = parser.parse_args()
    draw = np.random.default_rng(0)
    datasets = {name: documents(draw, args.documents, args.words, name) for name in ("a", "b")}
    target = documents(draw, TARGET, args.words, "target")
    target[:: TARGET // 20] = datasets["a"][:20]
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts from here
    before, start = peak_resident_bytes(), time.process_time()
    found = contamination_of(
        {name: lambda items=items: items for name, items in datasets.items()}, [Judged("t", "test", target)]
    )
    seconds = time.process_time() - start
    for one in found.overlaps:
        print(f"{one.dataset}: {one.shared} of {one.items} documents share a run, {one.short} short ones")
    million = 2 * args.documents * args.words / 1e6
    print(f"{2 * args.documents:,} documents, {million:.3g} million words: {seconds:.1f} CPU seconds")
    print(f"memory added: {(peak_resident_bytes() - before) / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
