import gzip
import json

import numpy as np
import pytest
import torch
from PIL import Image

from m2m.data import find
from m2m.errors import DataError
from m2m.setups.vision_images import CONTEXTS, SOURCES, SPACES, read_digits, read_garments, read_icons

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
