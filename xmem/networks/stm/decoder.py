"""STM's decoder (Oh et al., 2019, section 3.3)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from xmem.networks.stm.encoders import R2, R3, VALUE_CHANNELS
from xmem.networks.xmem.blocks import JointConv2d, ResidualBlock, conv3x3, per_object

WIDTH = 256

ImagePart = tuple[Tensor, Tensor, Tensor]  # of the first convolution, and the refined skips of strides 8 and 4


class Refine(nn.Module):
    """Doubles the resolution of an object's features and adds the image's at that stride."""

    def __init__(self, skip_channels: int):
        super().__init__()
        self.convFS = conv3x3(skip_channels, WIDTH)
        self.ResFS = ResidualBlock(WIDTH, WIDTH, 3)
        self.ResMM = ResidualBlock(WIDTH, WIDTH, 3)

    def skip(self, features: Tensor) -> Tensor:
        """The image's half, once for all objects: [B, C, 2h, 2w] -> [B, 256, 2h, 2w]."""
        return self.ResFS(self.convFS(features))

    def forward(self, skip: Tensor, m: Tensor) -> Tensor:
        """skip [B, 256, 2h, 2w], m [B, O, 256, h, w] -> [B, O, 256, 2h, 2w]."""
        size = skip.shape[-2:]
        m = per_object(lambda x: F.interpolate(x, size=size, mode="bilinear", align_corners=False), m)
        return per_object(self.ResMM, skip[:, None] + m)


class Decoder(nn.Module):
    """Memory readout and the image's features -> mask logits of each object."""

    def __init__(self):
        super().__init__()
        self.convFM = JointConv2d(2 * VALUE_CHANNELS, WIDTH, 3, padding=1)
        self.ResMM = ResidualBlock(WIDTH, WIDTH, 3)
        self.RF3 = Refine(R3)
        self.RF2 = Refine(R2)
        self.pred2 = conv3x3(WIDTH, 2)

    def image_part(self, value: Tensor, r3: Tensor, r2: Tensor) -> ImagePart:
        """What the image has in the decoder, once for all objects; value [B, C_v, h, w] of the query."""
        return self.convFM.shared_half(value), self.RF3.skip(r3), self.RF2.skip(r2)

    def forward(self, image: ImagePart, readout: Tensor) -> Tensor:
        """image: `image_part` of its features; readout [B, O, C_v, h, w] -> logits [B, O, 16 h, 16 w].

        A softmax over the two channels that the network predicts is the sigmoid of their difference.
        """
        shared, skip3, skip2 = image
        m4 = per_object(self.ResMM, self.convFM.add_own_half(shared, readout))
        m2 = self.RF2(skip2, self.RF3(skip3, m4))
        background, foreground = per_object(lambda m: self.pred2(F.relu(m)), m2).unbind(2)  # [B, O, 4 h, 4 w]
        return F.interpolate(foreground - background, scale_factor=4, mode="bilinear", align_corners=False)
