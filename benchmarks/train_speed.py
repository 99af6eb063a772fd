"""Tokens a second of our training beside the loop that users write with transformers, on the same examples.

python benchmarks/train_speed.py [--blocks 2] [--steps 12]      (needs the extra `gguf`)

SmolLM2-135M with its last blocks trained on translations into Spanish, 16 examples a step, AdamW, one
thread. `loop` is the plain loop: AutoModelForCausalLM, labels of -100 where nothing is learnt, filled up to
the longest example of the batch. `whole` is m2m's training of the same model, `top` that with `cache_trunk`
(the trunk has run before). What is counted are CPU seconds of each step (the wall clock tells how busy a
machine is) and tokens without those of filling up; the medians over steps are shown, without the first step,
and what a training takes besides its steps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from operator import truediv
from pathlib import Path
from statistics import median

import torch

from m2m import setups
from m2m.data import cache_dir
from m2m.mixture import Mixture
from m2m.setups.kept_activations import Windows
from m2m.setups.packaged_models import packaged_model
from m2m.setups.protocol import Batch, Examples, Setup
from m2m.setups.rows.examples import longest
from m2m.training import MixtureSampler, TrainRecipe, fine_tune

BATCH = 16
#: Trains so many steps, and calls after each.
Training = Callable[[int, Callable[[], None]], None]
RATE = 3e-4


def load(blocks: int, *, cached: bool) -> Setup:
    """Load SmolLM2 with its last blocks trained, and translations of django's messages into Spanish."""
    numbers = "|".join(str(30 - below) for below in range(1, blocks + 1))
    source = {
        "package": "django",
        "files": "**/locale/es/LC_MESSAGES/*.po",
        "read": "po_pairs",
        "letters": [12, 90],
    }
    source |= {"prompt": "Translate into Spanish: {text}\n", "truncate": "drop"}
    spec = {
        "kind": "language",
        "model": "smollm2-135m-instruct",
        "base": {"context": 48, "trainable": [rf"layers\.({numbers})\."], "cache_trunk": cached},
        "datasets": {"spanish": source | {"share": [0.0, 0.7], "limit": 96}},
        "targets": {"goal": source | {"share": [0.7, 1.0], "validation": 16, "test": 16}},
    }
    return setups.load(
        spec, Path(), cache_dir(), lambda done, total, what: print(f"\r{what} {done}/{total}", end="")
    )


def batches(setup: Setup) -> Iterator[Batch]:
    """Draw the batches that m2m's training draws."""
    data = setup.datasets["spanish"]
    mixture = Mixture.subset(["spanish"], ["spanish"])
    for picked in MixtureSampler(mixture, {"spanish": len(data)}, BATCH, seed=0):
        yield data.take(picked["spanish"])


def plain_loop(setup: Setup, blocks: int) -> Training:
    """Make the loop that users write, with the model loaded."""
    from transformers import AutoModelForCausalLM

    folder = packaged_model("smollm2-135m-instruct", cache_dir())
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    model.config.use_cache = False
    model.requires_grad_(False)
    for block in model.model.layers[-blocks:]:
        block.requires_grad_(True)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def run(steps: int, stepped: Callable[[], None]) -> None:
        optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0)
        model.train()
        for _, (tokens, learnt) in zip(range(steps), batches(setup), strict=False):
            ids = tokens.long()[:, : longest(learnt)]
            labels = ids.masked_fill(~learnt[:, : ids.shape[1]], -100)
            loss = model(input_ids=ids, labels=labels).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            stepped()

    return run


def ours(setup: Setup) -> Training:
    """Make m2m's training, its base state loaded before."""
    base = setup.base_state(cache_dir())
    mixture = Mixture.subset(["spanish"], ["spanish"])
    setup.inputs(next(batches(setup)))  # has the trunk run

    def run(steps: int, stepped: Callable[[], None]) -> None:
        recipe = TrainRecipe(steps=steps, batch=BATCH, learning_rate=RATE)
        fine_tune(setup, base, mixture, recipe, seed=0, progress=lambda *_: stepped())

    return run


@dataclass(frozen=True)
class Took:
    """CPU seconds of a training: of its steps but the first, and of all else."""

    steps: list[float]
    besides: float


def timed(train: Training, steps: int) -> Took:
    """Train, and time each step."""
    begun, ends = time.process_time(), list[float]()
    train(steps, lambda: ends.append(time.process_time()))
    whole, each = time.process_time() - begun, [after - before for before, after in pairwise(ends)]
    return Took(each, whole - median(each) * steps)


def tokens_of(setup: Setup, steps: int) -> list[int]:
    """Count the tokens of each step but the first, without those of filling up."""
    drawn = islice(batches(setup), 1, steps)
    return [int(Windows.of(Examples(batch)).lengths.sum()) for batch in drawn]


def main(blocks: int, steps: int) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    plain, cached = load(blocks, cached=False), load(blocks, cached=True)
    print()
    tokens = tokens_of(plain, steps)
    ways = {"loop": plain_loop(plain, blocks), "whole": ours(plain), "top": ours(cached)}
    took = {name: timed(train, steps) for name, train in ways.items()}
    for name, found in took.items():
        speed = median(map(truediv, tokens, found.steps))
        times = median(map(truediv, took["loop"].steps, found.steps))
        print(f"{name:6}{speed:6.0f} tokens a second, {times:.2f} x the loop; {found.besides:.1f} s besides")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--steps", type=int, default=12)
    arguments = parser.parse_args()
    main(arguments.blocks, arguments.steps)
