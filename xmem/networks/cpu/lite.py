"""EfficientNet-lite, packed: ReLU6 in its convolutions' pass, and wide blocks a part of their channels at a time."""

from __future__ import annotations

import math

from torch import Tensor, nn

from xmem.networks.cpu.packed import ALL, RELU6, PackedConv2d
from xmem.networks.xmem.encoders import LiteBlock, LiteLayer

MOST_EXPANDED = 4 * 2**20  # values of a block's expanded channels that are held at once (16 MiB)


class FusedLiteLayer(LiteLayer):
    """A layer with its batch norm folded, whose packed convolution computes ReLU6 in the same pass.

    A tenth less time for the key encoder at 480p in bfloat16 (no difference in float32) on two cores of an AMD EPYC
    (Zen 4).
    """

    def forward(self, x: Tensor) -> Tensor:
        return self.of_outputs(x, ALL)

    def of_outputs(self, x: Tensor, channels: slice) -> Tensor:
        """Some output channels of the layer; of a depthwise one, x holds just these."""
        conv = self[0]
        assert isinstance(conv, PackedConv2d) and conv.bias is not None  # folded and packed, see `use_lite`
        return conv.part(x, ALL, channels, conv.bias[channels], RELU6)


class LiteBlockInParts(LiteBlock):
    """A block that, where it is wide, computes a part of its expanded channels at a time.

    The widest block, 96 channels at half the image's size, so takes half the time on a CPU: its 40 MB at 480p would
    come fresh from the system at each frame, to be cleared page by page.
    """

    def forward(self, x: Tensor) -> Tensor:
        convolution = self.depthwise[0]
        assert isinstance(convolution, nn.Conv2d)
        width = convolution.in_channels
        count = math.ceil(len(x) * width * x.shape[-2] * x.shape[-1] / MOST_EXPANDED)
        if count == 1:
            return super().forward(x)
        out = self._in_parts(x, width, 16 * math.ceil(width / count / 16))  # whole vectors of channels
        return out + x if self.residual else out

    def _in_parts(self, x: Tensor, width: int, part: int) -> Tensor:
        """The block without its skip, for `part` expanded channels at a time; the projection sums over them."""
        project, expand, depthwise = self.project[0], self.expand, self.depthwise
        assert isinstance(project, PackedConv2d)
        assert isinstance(expand, FusedLiteLayer) and isinstance(depthwise, FusedLiteLayer)
        out: Tensor | None = None
        for start in range(0, width, part):
            own = slice(start, min(start + part, width))
            hidden = depthwise.of_outputs(expand.of_outputs(x, own), own)
            summand = project.of_channels(hidden, own, project.bias if out is None else None)
            out = summand if out is None else out + summand
        assert out is not None
        return out


def use_lite(model: nn.Module) -> nn.Module:
    """Let, in place, the layers and blocks of `model` that are folded and packed compute in this way."""
    for layer in model.modules():
        if type(layer) is LiteLayer and len(layer) == 3 and _is_ready(layer):
            layer.__class__ = FusedLiteLayer
    for block in model.modules():
        if type(block) is not LiteBlock or not _is_ready(block.project):
            continue
        if type(block.expand) is type(block.depthwise) is FusedLiteLayer:
            block.__class__ = LiteBlockInParts
    return model


def _is_ready(layer: nn.Module) -> bool:
    return isinstance(layer, LiteLayer) and isinstance(layer[0], PackedConv2d) and isinstance(layer[1], nn.Identity)
