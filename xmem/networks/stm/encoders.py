"""STM's two encoders, each a ResNet-50 to stride 16 (Oh et al., 2019, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xmem.networks.layers import resnet
from xmem.networks.xmem.blocks import conv3x3

R4, R3, R2 = 1024, 512, 256  # channels at strides 16, 8 and 4
KEY_CHANNELS, VALUE_CHANNELS = 128, 512  # C_k, C_v
IMAGE_CHANNELS, MASK_CHANNELS = 3, 2


class Encoder(nn.Module):
    """ResNet-50 without its last stage and head, on an image and masks."""

    def __init__(self, mask_channels: int = 0):
        super().__init__()
        network = resnet("resnet50")
        self.conv1 = nn.Conv2d(IMAGE_CHANNELS + mask_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1, self.relu, self.maxpool = network.bn1, network.relu, network.maxpool
        self.res2, self.res3, self.res4 = network.layer1, network.layer2, network.layer3

    def forward(self, image: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """image [1, 3, H, W], normalised; masks, where the encoder takes them, [N, 2, H, W]: the object's and the sum
        of the others' -> r4 [N, 1024, h, w], r3 and r2 at twice and four times that size."""
        if masks is not None:
            image = torch.cat([image.expand(len(masks), -1, -1, -1), masks], 1)
        r2 = self.res2(self.maxpool(self.relu(self.bn1(self.conv1(image)))))
        r3 = self.res3(r2)
        return self.res4(r3), r3, r2


class KeyValue(nn.Module):
    """Stride-16 features -> key and value."""

    def __init__(self):
        super().__init__()
        self.Key = conv3x3(R4, KEY_CHANNELS)
        self.Value = conv3x3(R4, VALUE_CHANNELS)

    def forward(self, r4: Tensor) -> tuple[Tensor, Tensor]:
        """r4 [N, 1024, h, w] -> key [N, C_k, h, w], value [N, C_v, h, w]."""
        return self.Key(r4), self.Value(r4)
