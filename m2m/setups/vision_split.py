"""Cut pools into training, validation and test images that share no picture, not even a redrawn copy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from m2m.setups.vision_sources import Pool

#: Two images are copies if their grey levels (0 to 255) differ by no more than this, root mean square. Themes
#: share re-rendered icons: MATE has two thirds of GNOME's within 10, and the nearest of the rest are 20 away.
COPY_DISTANCE = 12.0


@dataclass(frozen=True)
class Parts:
    """Disjoint parts of a pool.

    Attributes:
        train: Images to train on; empty for a source that is only a target.
        validation: Images to choose by.
        test: Images to judge finished models by.
    """

    train: Pool
    validation: Pool
    test: Pool


def split_pools(
    pools: Mapping[str, Pool],
    spaces: Mapping[str, str],
    datasets: Sequence[str],
    train_examples: int,
    heldout_examples: int,
) -> dict[str, Parts]:
    """Cut every pool into parts, after removing copies of its own images and of any dataset before it.

    Args:
        pools: Pool by source name; the datasets first. [N + targets that are no dataset]
        spaces: Label space by source name; only pools of one space are compared.
        datasets: The sources that are trained on: a fifth of each is for validation and a fifth for test. Of
            the others it is one half each.
        train_examples: Most training images of a source.
        heldout_examples: Most validation images of a source, and most test images.

    Returns:
        Parts by source name.
    """
    parts: dict[str, Parts] = {}
    trained_on: dict[str, list[Pool]] = {}
    for name, pool in pools.items():
        is_dataset = name in datasets
        wanted = 2 * heldout_examples + (train_examples if is_dataset else 0)
        ordered = in_content_order(pool)
        # Comparing is quadratic, so a large pool is cut to what can be used first.
        distinct = without_copies(
            ordered.take(torch.arange(min(len(ordered), wanted))), trained_on.get(spaces[name], [])
        )
        if is_dataset:
            trained_on.setdefault(spaces[name], []).append(distinct)
        share = len(distinct) // (5 if is_dataset else 2)
        parts[name] = _cut(distinct, min(share, heldout_examples), train_examples if is_dataset else 0)
    return parts


def in_content_order(pool: Pool) -> Pool:
    """Order images by a hash of their bytes: random, yet the same whatever order files are read in.

    Args:
        pool: Images in any order.

    Returns:
        The images, exact copies left out.
    """
    number_of = {hashlib.sha256(image.numpy()).digest(): number for number, image in enumerate(pool.images)}
    return pool.take(torch.tensor([number_of[key] for key in sorted(number_of)], dtype=torch.int64))


def without_copies(pool: Pool, others: Sequence[Pool]) -> Pool:
    """Leave out images that are copies of an earlier image of the pool, or of any image of the others.

    Args:
        pool: Images.
        others: Pools whose pictures must not come up again.

    Returns:
        The images that are left, in order. No two of them are copies of each other.
    """
    kept = torch.ones(len(pool), dtype=torch.bool)
    for other in others:
        kept &= ~_are_copies(pool.images, other.images).any(dim=1)
    own = _are_copies(pool.images, pool.images)
    for number in range(1, len(pool)):
        kept[number] &= not bool((own[number, :number] & kept[:number]).any())
    return pool.take(kept)


def _are_copies(some: Tensor, others: Tensor) -> Tensor:
    # All pairs of E and F images. bool [E, F]
    distance: Tensor = torch.cdist(some.flatten(1).float(), others.flatten(1).float())
    return distance.le(COPY_DISTANCE * some[0].numel() ** 0.5)


def _cut(pool: Pool, heldout: int, train: int) -> Parts:
    numbers = torch.arange(len(pool))
    test, validation, rest = numbers[:heldout], numbers[heldout : 2 * heldout], numbers[2 * heldout :]
    return Parts(pool.take(rest[:train]), pool.take(validation), pool.take(test))
