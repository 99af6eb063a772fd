"""What one vocabulary costs: python benchmarks/vocabulary.py --work DIR [--rows 128000] [--rounds 3].

A base model and two experts are an embedding, a head and one more matrix in bfloat16; every expert gives its
tokens other ids, so that every row is read on its own. Merged as they are, and with `tokenizer_source: base`:
CPU seconds (user and system) and the peak of memory of whole commands, in turn, medians.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import torch

from m2m.checkpoint import save


def make(folder: Path, rows: int, width: int) -> None:
    """Write the models, if they are not there yet."""
    generator = torch.Generator().manual_seed(0)
    for name in ("base", "one", "two"):
        if (folder / name).exists():
            continue
        shapes = {"model.embed_tokens.weight": rows, "lm_head.weight": rows, "model.layers.0.w": rows // 4}
        state = {
            key: torch.randn(size, width, generator=generator).bfloat16() for key, size in shapes.items()
        }
        save(state, folder / name)
        order = range(rows) if name == "base" else torch.randperm(rows, generator=generator).tolist()
        model = {"type": "WordLevel", "vocab": {f"word{token}": number for token, number in enumerate(order)}}
        (folder / name / "tokenizer.json").write_text(json.dumps({"model": model, "added_tokens": []}))


def measure(recipe: Path, out: Path) -> tuple[float, float]:
    """Run a merge in a process of its own: CPU seconds, and the peak of memory in MiB."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "m2m.cli", "merge", str(recipe), str(out), "--json", "-q"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(out)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, json.loads(said)["peak_rss_bytes"] / 2**20


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=128_000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--methods", default="task_arithmetic,ties")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    make(asked.work, asked.rows, asked.width)
    print("| method | CPU s as they are | by token | peak MiB as they are | by token |")
    print("| --- | --- | --- | --- | --- |")
    for method in asked.methods.split(","):
        models = [{"model": str(asked.work / name), "parameters": {"weight": 0.5}} for name in ("one", "two")]
        plain = {"merge_method": method, "base_model": str(asked.work / "base"), "models": models}
        found: dict[str, list[tuple[float, float]]] = {"plain": [], "tokens": []}
        for _ in range(asked.rounds):
            for name, recipe in (("plain", plain), ("tokens", {**plain, "tokenizer_source": "base"})):
                (asked.work / f"{name}.yml").write_text(json.dumps(recipe))
                found[name].append(measure(asked.work / f"{name}.yml", asked.work / "out"))
        seconds = [statistics.median(spent for spent, _ in found[name]) for name in found]
        peaks = [statistics.median(peak for _, peak in found[name]) for name in found]
        print(f"| {method} | {seconds[0]:.1f} | {seconds[1]:.1f} | {peaks[0]:.0f} | {peaks[1]:.0f} |")


if __name__ == "__main__":
    main()
