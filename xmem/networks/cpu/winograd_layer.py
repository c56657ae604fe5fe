"""Convolutions that go Winograd's way where that is expected to be faster."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import cast

import torch
from torch import Tensor, nn

from xmem.networks.cpu.packed import ALL, NOTHING, RELU, PackedConv2d, Then
from xmem.networks.cpu.winograd import transform_kernels, winograd_conv
from xmem.networks.cpu.winograd_gain import LEAST_GAIN, MEASURED, corrections_here, gain
from xmem.networks.xmem.blocks import JointConv2d


class WinogradConv2d(PackedConv2d):
    """A 3x3 convolution, stride 1, padding 1, for inference: Winograd's way where it is expected to be faster.

    That is on a CPU, in float32, for the layers and sizes of `gain`; everything else goes the direct way, packed.
    Transformed weights are kept from their first use on: four times the weights' memory.
    """

    corrections: Mapping[int, float] | None = None  # of the gains, on this machine

    def part(
        self,
        x: Tensor,
        inputs: slice,
        outputs: slice,
        bias: Tensor | None,
        then: Then = NOTHING,
        onto: Tensor | None = None,
    ) -> Tensor:
        """As the packed layer's."""
        fits = x.is_cpu and x.dtype == self.weight.dtype == torch.float32 and not torch.is_grad_enabled()
        positions = x.shape[-2] * x.shape[-1]
        gains = fits and gain(x.shape[1], self.out_channels, positions, self.corrections) >= LEAST_GAIN
        if not gains or outputs != ALL or then not in (NOTHING, RELU):
            return super().part(x, inputs, outputs, bias, then, onto)
        return winograd_conv(x, self._kernels[:, inputs], bias, then == RELU, onto)

    @cached_property
    def _kernels(self) -> Tensor:
        return transform_kernels(self.weight)


def use_winograd(model: nn.Module) -> nn.Module:
    """Let, in place, every convolution of `model` that could ever gain go this way; its weights must not change any
    more. The first such network on a machine measures it for half a second or so."""
    plain = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    fitting = [layer for layer in plain if type(layer) in (nn.Conv2d, JointConv2d) and _fits(layer)]
    corrections = corrections_here() if fitting else {}
    for layer in fitting:
        largest = max(gain(layer.in_channels, layer.out_channels, size, corrections) for size in MEASURED)
        if largest >= LEAST_GAIN:
            layer.__class__ = WinogradConv2d
            cast(WinogradConv2d, layer).corrections = corrections
            cast(WinogradConv2d, layer)._packed = {}
    return model


def _fits(conv: nn.Conv2d) -> bool:
    shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode)
    return shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros")
