"""Convolutions on a CPU whose weights lie as oneDNN wants them, with what follows each in the same pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmem.networks.network import Network
from xmem.networks.xmem.blocks import JointConv2d

ALL = slice(None)

Then = tuple[str | None, list[float], str]  # what follows a convolution, as the operators name it
NOTHING: Then = (None, [], "")
RELU: Then = ("relu", [], "")
RELU6: Then = ("hardtanh", [0.0, 6.0], "")
ACTIVATIONS: dict[str | None, Callable[[Tensor], Tensor]] = {None: lambda x: x, "relu": F.relu, "hardtanh": F.relu6}


class PackedConv2d(JointConv2d):
    """A convolution for inference whose weights are re-ordered once and not at each call.

    xmem-lite in bfloat16, one object, two cores of an AMD EPYC (Zen 4): a frame took 0.81 of its time with plain layers
    at 240p and 0.88 at 480p; in float32, 0.82 and as long. A ResNet-50 in float32, with what follows in the same pass:
    0.7 (one thread of an Intel Xeon with AVX-512). The weights are held once more for each shape of inputs. Elsewhere
    than on a CPU, in training, and where torch lacks these operators, it is the plain layer.
    """

    _packed: dict[tuple, dict[torch.Size, Tensor]]  # by the part, for the latest shapes of inputs
    _shapes = 1

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C_in, h, w] -> [N, C_out, h', w']."""
        return self.part(x, ALL, ALL, self.bias)

    def of_channels(self, x: Tensor, channels: slice, bias: Tensor | None) -> Tensor:
        """The convolution of some input channels, which are all that x [N, C, h, w] holds."""
        return self.part(x, channels, ALL, bias)

    def then(self, x: Tensor, then: Then = RELU, onto: Tensor | None = None) -> Tensor:
        """The convolution of x, plus `onto`, which has the shape of what comes out, and then the activation."""
        return self.part(x, ALL, ALL, self.bias, then, onto)

    def part(
        self,
        x: Tensor,
        inputs: slice,
        outputs: slice,
        bias: Tensor | None,
        then: Then = NOTHING,
        onto: Tensor | None = None,
    ) -> Tensor:
        """Some output channels of the convolution of some input channels, which are all that x and bias hold; for a
        depthwise convolution, x holds those of `outputs`. onto and then: as in `then`."""
        if x.is_cpu and x.dtype == self.weight.dtype and not torch.is_grad_enabled():
            groups = x.shape[1] if self.groups > 1 else 1
            packed = self._weights(x.shape, inputs, outputs, groups)
            if packed is not None:
                geometry = bias, self.padding, self.stride, self.dilation, groups
                convolve = torch.ops.mkldnn._convolution_pointwise
                if onto is not None:
                    return convolve.binary(x, onto, packed, *geometry, "add", 1.0, *then)
                return convolve(x, packed, *geometry, then[0] or "none", *then[1:])
        weight = self.weight[outputs, inputs]
        out = F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, len(weight) if self.groups > 1 else 1)
        out = out if onto is None else out + onto
        return ACTIVATIONS[then[0]](out)

    def _weights(self, shape: torch.Size, inputs: slice, outputs: slice, groups: int) -> Tensor | None:
        """The weights of a part, in the best order for inputs of that shape: in another one's they would be right, but
        slower. None where torch lacks the operators for their type."""
        if not is_available(self.weight.dtype):
            return None
        place = (inputs.start, inputs.stop, outputs.start, outputs.stop, self.weight.dtype)
        known = self._packed.get(place, {})
        packed = known.get(shape)
        if packed is None:
            packed = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight[outputs, inputs].contiguous(), self.padding, self.stride, self.dilation, groups, shape
            )
            latest = [*known.items(), (shape, packed)][-self._shapes :]
            self._packed[place] = dict(latest)  # a new one: other threads may be reading
        return packed


@cache
def is_available(dtype: torch.dtype) -> bool:
    """Whether torch has the operators, which it keeps to itself, and they take that type here: a call tells."""
    image, weight = torch.ones((1, 16, 4, 4), dtype=dtype), torch.ones((16, 16, 1, 1), dtype=dtype)
    geometry = [0, 0], [1, 1], [1, 1], 1  # padding, stride, dilation, groups
    try:
        packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *geometry, image.shape)
        torch.ops.mkldnn._convolution_pointwise(image, packed, None, *geometry, "none", [], "")
        torch.ops.mkldnn._convolution_pointwise.binary(image, image, packed, None, *geometry, "add", 1.0, *RELU)
    except (AttributeError, RuntimeError):
        return False
    return True


def use_packed(model: nn.Module) -> nn.Module:
    """Let, in place, the plain convolutions of `model` be packed ones, for its `shapes_at_once` if it is a Network; its
    weights must not change any more."""
    shapes = model.shapes_at_once if isinstance(model, Network) else 1
    for layer in model.modules():
        plain = type(layer) in (nn.Conv2d, JointConv2d) and layer.padding_mode == "zeros"
        if plain and layer.groups in (1, layer.out_channels):
            layer.__class__ = PackedConv2d
            cast(PackedConv2d, layer)._packed = {}
        if isinstance(layer, PackedConv2d):
            layer._shapes = shapes
    return model
