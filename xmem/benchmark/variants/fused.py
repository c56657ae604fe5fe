"""Convolutions that cuDNN computes together with bias, ReLU and a residual: XMem's 304 kernels a frame become fewer."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from xmem.networks.xmem import XMem
from xmem.networks.xmem.blocks import ResidualBlock
from xmem.networks.xmem.encoders import MaskTrunk, ResNetKeyEncoder


def conv_relu(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """relu(conv(x)); the plain form, elsewhere than on CUDA, is the oracle of the fused one."""
    if not x.is_cuda:
        return F.relu(conv(x))
    return torch.cudnn_convolution_relu(
        x, conv.weight, conv.bias, conv.stride, _padding(conv), conv.dilation, conv.groups
    )


def conv_add_relu(conv: nn.Conv2d, x: Tensor, residual: Tensor) -> Tensor:
    """relu(conv(x) + residual)."""
    if not x.is_cuda:
        return F.relu(conv(x) + residual)
    how = conv.stride, _padding(conv), conv.dilation, conv.groups
    return torch.cudnn_convolution_add_relu(x, conv.weight, residual, 1.0, conv.bias, *how)


def _padding(conv: nn.Conv2d) -> tuple[int, ...]:
    """As numbers: none of these networks says "same" or "valid"."""
    assert not isinstance(conv.padding, str)
    return conv.padding


class FusedBasicBlock(BasicBlock):
    """torchvision's block, its batch norms folded."""

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, h, w] -> [N, C', h', w']."""
        residual = x if self.downsample is None else self.downsample(x)
        return conv_add_relu(self.conv2, conv_relu(self.conv1, x), residual)


class FusedBottleneck(Bottleneck):
    """torchvision's block, its batch norms folded."""

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, h, w] -> [N, C', h', w']."""
        residual = x if self.downsample is None else self.downsample(x)
        return conv_add_relu(self.conv3, conv_relu(self.conv2, conv_relu(self.conv1, x)), residual)


class FusedResidualBlock(ResidualBlock):
    """XMem's own block, whose first convolution is followed by a ReLU; the second is not."""

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C_in, h, w] -> [N, C_out, h, w]."""
        out = self.conv2(conv_relu(self.conv1, F.relu(x)))
        return out + (x if self.downsample is None else self.downsample(x))


class FusedKeyEncoder(ResNetKeyEncoder):
    """Its stem."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """image [B, 3, H, W] -> f16, f8, f4."""
        f4 = self.res2(self.maxpool(conv_relu(self.conv1, image)))
        f8 = self.layer2(f4)
        return self.layer3(f8), f8, f4


_FUSED: dict[type[nn.Module], type[nn.Module]] = {
    BasicBlock: FusedBasicBlock,
    Bottleneck: FusedBottleneck,
    ResidualBlock: FusedResidualBlock,
    ResNetKeyEncoder: FusedKeyEncoder,
}


def fused(model: XMem) -> XMem:
    """A copy of a network that is loaded, whose convolutions are fused; its batch norms are folded already."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            raise ValueError("Batch norms have to be folded first.")
        module.__class__ = _FUSED.get(type(module), module.__class__)
        if isinstance(module, MaskTrunk) and "conv1" in module.trunk_names:
            module.relu = nn.Identity()
            assert isinstance(module.conv1, nn.Conv2d)
            module.conv1 = _ConvReLU(module.conv1)
    return model


class _ConvReLU(nn.Module):
    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return conv_relu(self.conv, x)
