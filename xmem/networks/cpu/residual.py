"""Residual blocks whose convolutions take the activation and the sum with the skip into their pass."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from xmem.networks.cpu.packed import NOTHING, PackedConv2d
from xmem.networks.xmem.blocks import ResidualBlock, fold_objects


class FusedResidualBlock(ResidualBlock):
    """XMem's block."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = convolutions(self, 2)
        return second.then(first.then(F.relu(x)), NOTHING, x if self.downsample is None else self.downsample(x))

    def fuse(self, shared: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
        hidden = self.conv1.add_own_half(shared[0], F.relu(x))
        skip = self._skip.add_own_half(shared[1], x)
        second = convolutions(self, 2)[1]
        out = second.then(fold_objects(F.relu(hidden)), NOTHING, fold_objects(skip))
        return out.unflatten(0, x.shape[:2])


class ConvReLU(PackedConv2d):
    """A convolution whose ReLU, a layer of its own in the network, is in its pass."""

    def forward(self, x: Tensor) -> Tensor:
        return self.then(x)


def use_residual(model: nn.Module) -> nn.Module:
    """Let, in place, the blocks of `model` that are folded and packed compute in this way, and the ResNets' stems."""
    for block in list(model.modules()):
        fused = _fused(type(block))
        if fused and _is_ready(block):
            block.__class__ = fused
        elif _is_stem(block) and _is_ready(block):
            cast(PackedConv2d, block.conv1).__class__ = ConvReLU
            block.relu = nn.Identity()
    return model


def _fused(kind: type[nn.Module]) -> type[nn.Module] | None:
    """What takes the place of a block, if anything."""
    if kind.__module__ == "torchvision.models.resnet":  # which no small network imports
        from xmem.networks.cpu.resnet import FUSED

        return FUSED.get(kind)
    return FusedResidualBlock if kind is ResidualBlock else None


def _is_stem(block: nn.Module) -> bool:
    return type(getattr(block, "conv1", None)) is PackedConv2d and type(getattr(block, "relu", None)) is nn.ReLU


def _is_ready(block: nn.Module) -> bool:
    layers = dict(block.named_children())
    convolutions = [layer for name, layer in layers.items() if name.startswith("conv")]
    norms = [layer for name, layer in layers.items() if name.startswith("bn")]
    return all(isinstance(conv, PackedConv2d) for conv in convolutions) and all(
        isinstance(norm, nn.Identity) for norm in norms
    )


def convolutions(block: nn.Module, count: int) -> list[PackedConv2d]:
    """The packed convolutions of a block, conv1 and on."""
    return [cast(PackedConv2d, block.get_submodule(f"conv{i}")) for i in range(1, count + 1)]
