"""STCN's decoder: XMem's without sensory memory, and with a plain residual block where XMem has a fuser."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from xmem.networks.stcn.encoders import F4, F8, VALUE_CHANNELS
from xmem.networks.xmem.blocks import ResidualBlock, conv3x3, per_object
from xmem.networks.xmem.decoder import UpsampleBlock

THIN_CHANNELS = 512
WIDTH16, WIDTH8, WIDTH4 = 512, 256, 256

ImagePart = tuple[Tensor, Tensor, Tensor, Tensor]  # of `compress`'s two first convolutions, and the skips


class Decoder(nn.Module):
    """Memory readout and the image's features -> mask logits of each object."""

    def __init__(self):
        super().__init__()
        self.compress = ResidualBlock(THIN_CHANNELS + VALUE_CHANNELS, WIDTH16, 3)
        self.up_16_8 = UpsampleBlock(F8, WIDTH16, WIDTH8, 3)
        self.up_8_4 = UpsampleBlock(F4, WIDTH8, WIDTH4, 3)
        self.pred = conv3x3(WIDTH4, 1)

    def image_part(self, thin: Tensor, f8: Tensor, f4: Tensor) -> ImagePart:
        """What the image has in the decoder, once for all objects; thin [B, 512, h, w]."""
        return *self.compress.shared_half(thin), self.up_16_8.skip_conv(f8), self.up_8_4.skip_conv(f4)

    def forward(self, image: ImagePart, readout: Tensor) -> Tensor:
        """image: `image_part` of its features; readout [B, O, C_v, h, w] -> logits [B, O, 16 h, 16 w]."""
        hidden, skip16, skip8, skip4 = image
        g16 = self.compress.fuse((hidden, skip16), readout)
        g4 = self.up_8_4(skip4, self.up_16_8(skip8, g16))
        logits = per_object(lambda g: self.pred(F.relu(g)), g4)[:, :, 0]  # [B, O, 4 h, 4 w]
        return F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)
