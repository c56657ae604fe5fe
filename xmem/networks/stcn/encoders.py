"""STCN's value encoder; its key encoder is XMem's (Cheng et al., 2021, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xmem.networks.xmem.blocks import Fuser, per_object
from xmem.networks.xmem.encoders import resnet_trunk

KEY_CHANNELS, VALUE_CHANNELS = 64, 512  # C_k, C_v
F16, F8, F4 = 1024, 512, 256  # channels of the image's features at strides 16, 8 and 4
OBJECT_CHANNELS = 256  # of the trunk's features at stride 16


class ValueEncoder(nn.Module):
    """Object masks on an image -> memory values.

    A ResNet-18 to stride 16, every convolution of which has a bias, then the fuser with the image's f16. The trunk's
    layers stand directly in this module, because released weights name them so.
    """

    def __init__(self):
        super().__init__()
        trunk, channels = resnet_trunk()
        for name, layer in trunk.items():
            self.add_module(name, layer)
            _give_biases(layer)
        self.trunk_names = tuple(trunk)
        self.fuser = Fuser(F16, channels, VALUE_CHANNELS, 3)

    def trunk(self, x: Tensor) -> Tensor:
        """[N, 5, H, W] -> [N, 256, H / 16, W / 16]."""
        for name in self.trunk_names:
            x = getattr(self, name)(x)
        return x

    def forward(self, image: Tensor, shared: tuple[Tensor, Tensor], masks: Tensor, others: Tensor) -> Tensor:
        """image [B, 3, H, W]; shared: `fuser.block1.shared_half` of f16; masks of objects and sums of all others'
        [B, O, H, W] -> values [B, O, C_v, h, w]."""
        images = image[:, None].expand(-1, masks.shape[1], -1, -1, -1)
        x = torch.cat([images, masks[:, :, None], others[:, :, None]], 2)  # [B, O, 5, H, W]
        return self.fuser(shared, per_object(self.trunk, x))


def _give_biases(layer: nn.Module) -> None:
    for conv in layer.modules():
        if isinstance(conv, nn.Conv2d):
            conv.bias = nn.Parameter(torch.zeros(conv.out_channels))
