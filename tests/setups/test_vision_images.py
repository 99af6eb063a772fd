"""Images of the vision set-up: read as they are, and split so that no picture is on two sides."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from m2m.data import find
from m2m.errors import DataError
from m2m.setups.vision_images import (
    CONTEXTS,
    COPY_DISTANCE,
    SOURCES,
    SPACES,
    LabelledImages,
    in_content_order,
    read_digits,
    read_garments,
    read_icons,
    split_pools,
    without_copies,
)

LAYOUT = "usr/share/icons/pears/{context}/32"


def icon(path, colour=(255, 0, 0, 255), size=(32, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA", size, colour).save(path)


def test_icons_are_labelled_with_their_context(tmp_path):
    theme = tmp_path / "usr/share/icons/pears"
    icon(theme / "places/32/home.png", (10, 20, 30, 255))
    icon(theme / "actions/32/undo.png", (40, 50, 60, 255))
    icon(theme / "mimes/32/text.png", (70, 80, 90, 255))
    icon(theme / "animations/32/wait.png")
    pool = read_icons(tmp_path, LAYOUT)
    assert [CONTEXTS[label] for label in pool.labels] == ["actions", "mimetypes", "places"]
    assert pool.images.shape == (3, 3, 32, 32)
    assert pool.images[:, :, 5, 7].tolist() == [[40, 50, 60], [70, 80, 90], [10, 20, 30]]


def test_transparent_pixels_are_white(tmp_path):
    icon(tmp_path / "usr/share/icons/pears/apps/32/a.png", (0, 0, 0, 0))
    assert read_icons(tmp_path, LAYOUT).images.unique().tolist() == [255]


def test_links_and_sheets_of_frames_are_left_out(tmp_path):
    apps = tmp_path / "usr/share/icons/pears/apps/32"
    icon(apps / "a.png")
    icon(apps / "frames.png", size=(32, 480))
    (apps / "link.png").symlink_to("a.png")
    assert len(read_icons(tmp_path, LAYOUT)) == 1


def test_a_theme_without_icons_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"no icons in .* wanted 32 × 32 PNG files in usr/share/icons/pears"):
        read_icons(tmp_path, LAYOUT)


def test_digits_are_put_in_the_middle(tmp_path):
    folder = tmp_path / "package/src/digits"
    folder.mkdir(parents=True)
    for digit in range(10):
        grey = np.full((digit + 1, 28, 28), digit / 255)
        (folder / f"{digit}.json").write_text(json.dumps({"data": grey.ravel().tolist()}))
    pool = read_digits(tmp_path)
    assert torch.bincount(pool.labels).tolist() == list(range(1, 11))
    inside = pool.images[:, :, 2:30, 2:30]
    assert torch.equal(inside, pool.labels.to(torch.uint8)[:, None, None, None].expand_as(inside))
    assert pool.images.sum() == inside.sum()


def test_garments_are_read_from_idx_files(tmp_path):
    folder = tmp_path / "usr/share/datasets/fashion-mnist"
    folder.mkdir(parents=True)
    grey = np.arange(2 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(2, 28, 28)
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + grey.tobytes()))
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + bytes([7, 3])))
    pool = read_garments(tmp_path)
    assert pool.labels.tolist() == [7, 3]
    for channel in range(3):
        assert np.array_equal(pool.images[:, channel, 2:30, 2:30].numpy(), grey)


def test_every_source_has_a_pinned_package_and_a_label_space():
    for source in SOURCES.values():
        assert find(source.package).name == source.package
        assert source.space in SPACES


def random_pool(count, seed, distinct=None):
    """Noise, labelled by picture; with `distinct` so many pictures, each drawn again with other grain."""
    draw = torch.Generator().manual_seed(seed)
    pictures = torch.randint(0, 250, (distinct or count, 3, 32, 32), dtype=torch.uint8, generator=draw)
    if not distinct:
        return LabelledImages(pictures, torch.arange(count))
    number = torch.randint(distinct, (count,), generator=draw)
    grain = torch.randint(6, (count, 3, 32, 32), dtype=torch.uint8, generator=draw)
    return LabelledImages(pictures[number] + grain, number)


def contents(pool):
    return {image.numpy().tobytes() for image in pool.images}


def nearest(some, others):
    """Smallest root mean square distance of any pair, in grey levels, in exact arithmetic."""
    gaps = [(a.double() - b.double()).square().mean().sqrt() for a in some for b in others]
    return float(min(gaps)) if gaps else float("inf")


@settings(max_examples=25)
@given(
    counts=st.lists(st.integers(1, 12), min_size=2, max_size=4),
    distinct=st.integers(1, 8),
    datasets=st.integers(1, 4),
    seed=st.integers(0, 2**31),
)
def test_nothing_held_out_is_a_copy_of_anything_trained_on(counts, distinct, datasets, seed):
    # One seed: the pools show the same pictures, so copies across pools are the rule.
    pools = {f"theme{n}": random_pool(count, seed, distinct) for n, count in enumerate(counts)}
    names = list(pools)[:datasets]
    parts = split_pools(pools, dict.fromkeys(pools, "context"), names, 100, 100)
    trained = torch.cat([parts[name].train.images for name in names])
    for part in parts.values():
        assert nearest(part.validation.images, trained) > COPY_DISTANCE
        assert nearest(part.test.images, trained) > COPY_DISTANCE
        assert nearest(part.validation.images, part.test.images) > COPY_DISTANCE


@settings(max_examples=25)
@given(count=st.integers(1, 30), distinct=st.integers(1, 20), seed=st.integers(0, 2**31))
def test_one_image_of_each_picture_is_kept(count, distinct, seed):
    pool = random_pool(count, seed, distinct)
    kept = without_copies(pool, [])
    assert sorted(kept.labels.tolist()) == pool.labels.unique().tolist()


@settings(max_examples=25)
@given(order=st.permutations(range(12)))
def test_order_of_files_does_not_matter(order):
    pool = in_content_order(random_pool(12, seed=1))
    again = in_content_order(random_pool(12, seed=1).take(torch.tensor(order)))
    assert torch.equal(pool.images, again.images)
    assert torch.equal(pool.labels, again.labels)


def test_pools_of_other_label_spaces_are_not_compared():
    pools = {"one": random_pool(10, seed=3), "two": random_pool(10, seed=3)}
    parts = split_pools(pools, {"one": "digits", "two": "context"}, ["one", "two"], 100, 100)
    assert contents(parts["one"].train) == contents(parts["two"].train)


def test_shares_and_limits():
    pools = {"trained": random_pool(100, seed=4), "unseen": random_pool(100, seed=5)}
    spaces = dict.fromkeys(pools, "context")
    free = split_pools(pools, spaces, ["trained"], 1000, 1000)
    assert [len(pool) for pool in vars(free["trained"]).values()] == [60, 20, 20]
    assert [len(pool) for pool in vars(free["unseen"]).values()] == [0, 50, 50]
    limited = split_pools(pools, spaces, ["trained"], 7, 5)
    assert [len(pool) for pool in vars(limited["trained"]).values()] == [7, 3, 3]
    assert [len(pool) for pool in vars(limited["unseen"]).values()] == [0, 5, 5]
