"""Building blocks of Cutie that XMem has otherwise or not at all."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmem.networks.xmem.blocks import conv3x3, per_object

POSITION_FREQUENCIES = 64  # per axis, in a network of 256 channels
POSITION_BASE = 128.0
POSITION_RANGE = 32.0  # from the first to the last row or column


class GatedResidualBlock(nn.Module):
    """x + g * conv2(relu(conv1(relu(x)))); the gate g, one for each channel, sees its four neighbours' means, too.

    Unlike CBAM's in XMem, the gate multiplies the residual branch alone.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = conv3x3(channels, channels)
        self.conv2 = conv3x3(channels, channels)
        self.conv = nn.Conv1d(1, 1, 5, padding=2, bias=False)  # along the channels

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, h, w] -> [N, C, h, w]."""
        out = self.conv2(F.relu(self.conv1(F.relu(x))))
        gate = torch.sigmoid(self.conv(out.mean((2, 3))[:, None]))  # [N, 1, C]
        return torch.addcmul(x, out, gate[:, 0, :, None, None])


class Distributor(nn.Module):
    """Adds what the image and what each object has, projected alike."""

    def __init__(self, channels: int, object_channels: int):
        super().__init__()
        self.x_transform = nn.Conv2d(channels, channels, 1)
        self.g_transform = nn.Conv2d(object_channels, channels, 1)


class FusionBlock(nn.Module):
    """Joins the image's features with an object's, then two gated residual blocks."""

    def __init__(self, channels: int, object_channels: int):
        super().__init__()
        self.distributor = Distributor(channels, object_channels)
        self.block1 = GatedResidualBlock(channels)
        self.block2 = GatedResidualBlock(channels)

    def image_part(self, pix: Tensor) -> Tensor:
        """What the image has in the block, once for all objects: [B, C, h, w] -> [B, C, h, w]."""
        return self.distributor.x_transform(pix)

    def forward(self, shared: Tensor, g: Tensor) -> Tensor:
        """shared: `image_part`, [B, C, h, w]; g [B, O, C_g, h, w] -> [B, O, C, h, w]."""
        g = per_object(self.distributor.g_transform, g) + shared[:, None]
        return per_object(lambda x: self.block2(self.block1(x)), g)


def position_frequencies(channels: int, device: torch.device | None = None) -> Tensor:
    """The C / 4 frequencies of one axis, float32: 128^(-i / (C / 4))."""
    count = channels // 4
    return POSITION_BASE ** (-torch.arange(count, device=device) / count)


def position_code(height: int, width: int, like: Tensor, channels: int) -> Tensor:
    """Sines and cosines of each position, [h, w, C] in the type and on the device of `like`.

    Channels alternate between sine and cosine of each frequency; the first half are those of x, the second of y.
    """
    frequencies = position_frequencies(channels, like.device)

    def axis(size: int) -> Tensor:
        position = torch.arange(size, device=like.device) / (size - 1 + 1e-6) * POSITION_RANGE
        angle = position[:, None] * frequencies  # [size, C / 4]
        return torch.stack([angle.sin(), angle.cos()], 2).flatten(1).to(like.dtype)  # [size, C / 2]

    x = axis(width)[None].expand(height, -1, -1)
    y = axis(height)[:, None].expand(-1, width, -1)
    return torch.cat([x, y], 2)


def sum_of_others(masks: Tensor) -> Tensor:
    """For each object the others' masks together, at most 1: [B, O, H, W] -> [B, O, H, W]."""
    return (masks.sum(1, keepdim=True) - masks).clamp(0, 1)
