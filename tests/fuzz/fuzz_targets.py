"""Fuzz targets: what reads a user's files accepts bytes, or refuses them with an error of m2m's own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from unittest.mock import patch

import torch
from safetensors import SafetensorError, safe_open

from m2m.candidates import read_candidates
from m2m.checkpoint import Checkpoint, save
from m2m.checkpoint.header import read_header
from m2m.cli.entry import PROGRAM
from m2m.cli.select import execute as select
from m2m.errors import CheckpointError, M2MError
from m2m.merging import engine
from m2m.merging.compiled import compile_plan
from m2m.merging.plan.plan import MergePlan
from m2m.pipeline import config
from m2m.predicting.saved import load_predictor
from m2m.predicting.tables import read_table

#: What m2m refuses although the safetensors library reads it, by a part of the message.
STRICTER = (
    "does not start with",  # blanks before the header, which its format forbids
    "unknown dtype",  # types that m2m does not know yet
    "occurs twice",
    "not valid JSON",  # numbers and escapes that parsers disagree about
    "bad shape",  # more axes than torch has
    "wanted dtype, shape and data_offsets",  # keys that mean nothing to either
    "holds no tensor",
    "m2m.tied",  # what m2m itself notes there
)


parser = cache(PROGRAM.parser)


@cache
def room() -> Path:
    """Return a folder with a base model and two experts; it lives as long as the process."""
    kept = tempfile.TemporaryDirectory(prefix="m2m-fuzz-")
    _kept.append(kept)
    folder = Path(kept.name)
    for seed, name in enumerate(("base", "a", "b")):
        generator = torch.Generator().manual_seed(seed)
        layers = {f"model.layers.{i}.w": torch.randn(3, 4, generator=generator) for i in range(2)}
        save({**layers, "norm": torch.ones(5)}, folder / name)
    return folder


_kept: list[tempfile.TemporaryDirectory[str]] = []


def written(name: str, content: bytes) -> Path:
    """Write the input where a reader finds it."""
    path = room() / name
    path.write_bytes(content)
    return path


def header(content: bytes) -> None:
    """What m2m reads, the safetensors library reads to the same bytes; what the library reads, m2m mostly."""
    path = written("model.safetensors", content)
    theirs = library_tensors(path)
    try:
        read_header(path)
        ours = Checkpoint(path).state()
    except CheckpointError as error:
        if theirs is not None and not any(part in str(error) for part in STRICTER):
            raise AssertionError("m2m refuses what the safetensors library reads") from error
        return
    assert theirs is not None, "the safetensors library refuses what m2m reads"
    for name, tensor in theirs.items():
        assert (tensor.dtype, tensor.shape) == (ours[name].dtype, ours[name].shape), name
        assert bytes_of(tensor) == bytes_of(ours[name]), name


def library_tensors(path: Path) -> dict[str, torch.Tensor] | None:
    """Read a file as the safetensors library does; None if it refuses it."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, AttributeError, KeyError, RuntimeError, ValueError, TypeError, OverflowError):
        return None


def bytes_of(tensor: torch.Tensor) -> bytes:
    """Return a tensor's stored bytes."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def recipe(content: bytes) -> None:
    """A merge recipe becomes a plan that the compiled module takes; only the writing is left out."""

    def compiled(plan: MergePlan, *_: object) -> None:
        shards = sum(len(output.layout.shards) for output in plan.outputs)
        compile_plan(plan.numbers, len(plan.outputs), [room() / f"shard{i}" for i in range(shards)])

    path = written("recipe.yml", content)
    os.chdir(room())
    with suppress(M2MError), patch.object(engine, "run_plan", compiled):
        engine.merge(path, room() / "out")


def configuration(content: bytes) -> None:
    """A run configuration."""
    with suppress(M2MError):
        config.load(written("run.toml", content))


def candidates(content: bytes) -> None:
    """A table of candidates."""
    with suppress(M2MError):
        read_candidates(str(written("candidates.csv", content)), ["a", "b", "c"])


def scores(content: bytes) -> None:
    """A table of scores, as `m2m select` reads it."""
    path = written("scores.csv", content)
    with suppress(M2MError):
        select(parser().parse_args(["select", str(path), "--json"]))


def mixtures(content: bytes) -> None:
    """A table of mixtures, as `m2m predict` reads it."""
    with suppress(M2MError):
        read_table(written("x.csv", content), None)


def predictor(content: bytes) -> None:
    """A fitted predictor, as `m2m predict --load` reads it."""
    with suppress(M2MError):
        load_predictor(written("predictor.json", content))


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (header, recipe, configuration, candidates, scores, mixtures, predictor)
}
