"""Residual blocks whose convolutions take the activation and the sum with the skip into their pass."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from xmem.networks.cpu.packed import NOTHING, RELU, PackedConv2d
from xmem.networks.xmem.blocks import ResidualBlock, fold_objects


class FusedBottleneck(Bottleneck):
    """A block of ResNet-50 with its batch norms folded."""

    def forward(self, x: Tensor) -> Tensor:
        first, second, third = _convolutions(self, 3)
        return third.then(second.then(first.then(x)), RELU, x if self.downsample is None else self.downsample(x))


class FusedBasicBlock(BasicBlock):
    """A block of ResNet-18 with its batch norms folded."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = _convolutions(self, 2)
        return second.then(first.then(x), RELU, x if self.downsample is None else self.downsample(x))


class FusedResidualBlock(ResidualBlock):
    """XMem's block."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = _convolutions(self, 2)
        return second.then(first.then(F.relu(x)), NOTHING, x if self.downsample is None else self.downsample(x))

    def fuse(self, shared: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
        hidden = self.conv1.add_own_half(shared[0], F.relu(x))
        skip = self._skip.add_own_half(shared[1], x)
        second = _convolutions(self, 2)[1]
        out = second.then(fold_objects(F.relu(hidden)), NOTHING, fold_objects(skip))
        return out.unflatten(0, x.shape[:2])


class ConvReLU(PackedConv2d):
    """A convolution whose ReLU, a layer of its own in the network, is in its pass."""

    def forward(self, x: Tensor) -> Tensor:
        return self.then(x)


FUSED: dict[type[nn.Module], type[nn.Module]] = {
    Bottleneck: FusedBottleneck,
    BasicBlock: FusedBasicBlock,
    ResidualBlock: FusedResidualBlock,
}


def use_residual(model: nn.Module) -> nn.Module:
    """Let, in place, the blocks of `model` that are folded and packed compute in this way, and the ResNets' stems."""
    for block in list(model.modules()):
        if type(block) in FUSED and _is_ready(block):
            block.__class__ = FUSED[type(block)]
        elif _is_stem(block) and _is_ready(block):
            cast(PackedConv2d, block.conv1).__class__ = ConvReLU
            block.relu = nn.Identity()
    return model


def _is_stem(block: nn.Module) -> bool:
    return type(getattr(block, "conv1", None)) is PackedConv2d and type(getattr(block, "relu", None)) is nn.ReLU


def _is_ready(block: nn.Module) -> bool:
    layers = dict(block.named_children())
    convolutions = [layer for name, layer in layers.items() if name.startswith("conv")]
    norms = [layer for name, layer in layers.items() if name.startswith("bn")]
    return all(isinstance(conv, PackedConv2d) for conv in convolutions) and all(
        isinstance(norm, nn.Identity) for norm in norms
    )


def _convolutions(block: nn.Module, count: int) -> list[PackedConv2d]:
    return [cast(PackedConv2d, block.get_submodule(f"conv{i}")) for i in range(1, count + 1)]
