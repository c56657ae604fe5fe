"""From the transformer's outputs to one logit per identity, in two steps from stride 16 to stride 4."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmem.networks.aot.encoder import F4, F8, F16

NORM_GROUPS = 8


class ImagePart(NamedTuple):
    """What the image has in the decoder, once for all engines: its features at strides 16, 8, 4 after the adapters."""

    f16: Tensor
    f8: Tensor
    f4: Tensor


class ConvGN(nn.Module):
    """A convolution with bias, and group norm."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
        self.gn = nn.GroupNorm(NORM_GROUPS, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.gn(self.conv(x))


class Decoder(nn.Module):
    """A feature pyramid over the transformer's outputs."""

    def __init__(self, in_channels: int, channels: int, out_channels: int):
        super().__init__()
        half = channels // 2
        self.conv_in = ConvGN(in_channels, channels, 1)
        self.conv_16x = ConvGN(channels, channels, 3)
        self.conv_8x = ConvGN(channels, half, 3)
        self.conv_4x = ConvGN(half, half, 3)
        self.adapter_16x = nn.Conv2d(F16, channels, 1)
        self.adapter_8x = nn.Conv2d(F8, channels, 1)
        self.adapter_4x = nn.Conv2d(F4, half, 1)
        self.conv_out = nn.Conv2d(half, out_channels, 1)

    def image_part(self, f16: Tensor, f8: Tensor, f4: Tensor) -> ImagePart:
        """f16 [1, 1024, h, w], f8 at twice, f4 at four times its size."""
        return ImagePart(self.adapter_16x(f16), self.adapter_8x(f8), self.adapter_4x(f4))

    def forward(self, image: ImagePart, z: Tensor) -> Tensor:
        """z [1, C_in, h, w] -> logits [1, C_out, h', w'] of f4's size."""
        x = F.relu(self.conv_in(z))
        x = F.relu(self.conv_16x(image.f16 + x))
        x = F.relu(self.conv_8x(image.f8 + resized(x, image.f8.shape[-2:])))
        x = F.relu(self.conv_4x(image.f4 + resized(x, image.f4.shape[-2:])))
        return self.conv_out(x)


def resized(x: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Bilinear, corners on corners: [1, C, h, w] -> [1, C, *size]."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)
