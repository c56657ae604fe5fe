"""Convolutions on a device, whose halves lie there once: a slice of weights is laid anew at every call otherwise."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmem.networks.xmem.blocks import JointConv2d


class SplitConv2d(JointConv2d):
    """A joint convolution for inference that keeps each half of its weights as cuDNN wants it.

    The weights are held twice, those of XMem's joint convolutions in float16 in 40 MB. Where weights have changed their
    type or device, halves are made again; nothing else of them may change.
    """

    _parts: dict[tuple, Tensor]

    def of_channels(self, x: Tensor, channels: slice, bias: Tensor | None) -> Tensor:
        """The convolution of some input channels, which are all that x [N, C, h, w] holds."""
        if torch.is_grad_enabled():
            return super().of_channels(x, channels, bias)
        place = (channels.start, channels.stop, self.weight.dtype, self.weight.device)
        weight = self._parts.get(place)
        if weight is None:
            weight = self.weight[:, channels].clone(memory_format=torch.channels_last)
            self._parts[place] = weight
        return F.conv2d(x, weight, bias, self.stride, self.padding)


def use_split(model: nn.Module) -> nn.Module:
    """Let, in place, the joint convolutions of `model` keep their halves; its weights must not change any more."""
    for layer in model.modules():
        if type(layer) is JointConv2d:
            layer.__class__ = SplitConv2d
            cast(SplitConv2d, layer)._parts = {}
    return model
