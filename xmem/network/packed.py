"""Convolutions of a small network on a CPU whose weights lie as oneDNN wants them, with ReLU6 in the same pass."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ALL = slice(None)
_OPERATORS = ("_reorder_convolution_weight", "_convolution_pointwise")  # what torch's own compiler calls, too


class PackedConv2d(nn.Conv2d):
    """A convolution for inference whose weights are re-ordered once and not at each call.

    xmem-lite in bfloat16, one object, two cores of an AMD EPYC (Zen 4): a frame took 0.81 of its time with plain layers
    at 240p and 0.88 at 480p; in float32, 0.82 and as long. The weights are held twice. Elsewhere than on a CPU, in
    training, and where torch lacks these operators, it is the plain layer.
    """

    _packed: dict[tuple, tuple[torch.Size, Tensor]]

    @classmethod
    def of(cls, conv: nn.Conv2d) -> PackedConv2d:
        """A layer that shares the weights of `conv`."""
        with torch.device("meta"):
            layer = cls(
                conv.in_channels,
                conv.out_channels,
                conv.kernel_size,
                conv.stride,
                conv.padding,
                conv.dilation,
                conv.groups,
                conv.bias is not None,
            )
        layer.weight, layer.bias = conv.weight, conv.bias
        layer._packed = {}
        return layer.train(conv.training)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C_in, h, w] -> [N, C_out, h', w']."""
        return self.part(x, ALL, ALL, self.bias)

    def partial(self, x: Tensor, channels: slice, bias: Tensor | None) -> Tensor:
        """The convolution of some input channels: x [N, C, h, w], C as many as `channels` of the weights."""
        return self.part(x, channels, ALL, bias)

    def part(self, x: Tensor, inputs: slice, outputs: slice, bias: Tensor | None, relu6: bool = False) -> Tensor:
        """Some output channels of the convolution of some input channels, which are all that x and bias hold; for a
        depthwise convolution, x holds those of `outputs`."""
        weight = self.weight[outputs, inputs]
        groups = len(weight) if self.groups > 1 else 1
        if not x.is_cpu or x.dtype != weight.dtype or torch.is_grad_enabled() or not is_available():
            out = F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, groups)
            return F.relu6(out, inplace=True) if relu6 else out
        place = (inputs.start, inputs.stop, outputs.start, outputs.stop)
        shape, packed = self._packed.get(place, (None, None))
        if shape != x.shape:  # the best order depends on it; another one would be right, but slower
            packed = torch.ops.mkldnn._reorder_convolution_weight(
                weight.contiguous(), self.padding, self.stride, self.dilation, groups, x.shape
            )
            self._packed[place] = x.shape, packed
        then = ("hardtanh", [0.0, 6.0], "") if relu6 else ("none", [], "")
        return torch.ops.mkldnn._convolution_pointwise(
            x, packed, bias, self.padding, self.stride, self.dilation, groups, *then
        )


def is_available() -> bool:
    """Whether torch has the operators, which it keeps to itself, and uses oneDNN."""
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS)


def use_packed(model: nn.Module) -> nn.Module:
    """Replace, in place, the plain convolutions of `model`, whose weights must not change any more."""
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and layer.groups in (1, layer.out_channels):
                setattr(parent, name, PackedConv2d.of(layer))
    return model
