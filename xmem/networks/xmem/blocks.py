"""Building blocks that the encoders and the decoder share (XMem, section 3 and its supplement)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


def fold_objects(x: Tensor) -> Tensor:
    """Objects into the batch: [B, O, C, h, w] -> [B O, C, h, w].

    A batch of one may come with any stride, and one that does not fit the other axes hides that x is channels-last:
    layers would then compute, and copy, in the other layout (a tenth of the lite decoder's time).
    """
    x = x.flatten(0, 1)
    if len(x) == 1 and x.stride(0) != x.numel():
        x = x.as_strided(x.shape, (x.numel(), *x.stride()[1:]))
    return x


def per_object(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a 2-D network to x [B, O, C, h, w], objects folded into the batch."""
    return function(fold_objects(x)).unflatten(0, x.shape[:2])


class JointConv2d(nn.Conv2d):
    """A convolution of concat[shared, own], of which `shared` is the same for all objects.

    A convolution is linear over its input channels, so the shared half is computed once and not once per object.
    """

    def shared_half(self, shared: Tensor) -> Tensor:
        """What `shared` has in the convolution: [B, C_s, h, w] -> [B, C_out, h, w]."""
        return self.of_channels(shared, slice(shared.shape[1]), self.bias)

    def add_own_half(self, shared: Tensor, own: Tensor) -> Tensor:
        """What `shared_half` gave, [B, C_out, h, w], and the part of each object's own [B, O, C_x, h, w], together
        -> [B, O, C_out, h, w]."""
        half = self.of_channels(fold_objects(own), slice(self.in_channels - own.shape[2], None), None)
        return half.unflatten(0, own.shape[:2]) + shared[:, None]

    def of_channels(self, x: Tensor, channels: slice, bias: Tensor | None) -> Tensor:
        """The convolution of some input channels, which are all that x [N, C, h, w] holds."""
        return F.conv2d(x, self.weight[:, channels], bias, self.stride, self.padding)


class ResidualBlock(nn.Module):
    """out = conv2(relu(conv1(relu(x)))) + skip; skip is x, or a convolution of x where channels differ."""

    def __init__(self, in_channels: int, out_channels: int, shortcut_kernel: int):
        super().__init__()
        self.downsample: JointConv2d | None = None
        if in_channels != out_channels:
            self.downsample = JointConv2d(in_channels, out_channels, shortcut_kernel, padding=shortcut_kernel // 2)
        self.conv1 = JointConv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = conv3x3(out_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C_in, h, w] -> [N, C_out, h, w]."""
        out = self.conv2(F.relu(self.conv1(F.relu(x))))
        return out + (x if self.downsample is None else self.downsample(x))

    @property
    def _skip(self) -> JointConv2d:
        assert self.downsample is not None, "a block that joins two inputs has more channels before than behind it"
        return self.downsample

    def shared_half(self, shared: Tensor) -> tuple[Tensor, Tensor]:
        """What [B, C_s, h, w], the same for all objects, has in the first convolution and in the skip."""
        return self.conv1.shared_half(F.relu(shared)), self._skip.shared_half(shared)

    def fuse(self, shared: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
        """The block on concat[shared, x] for each object, shared as `shared_half` gives it: x [B, O, C_x, h, w]
        -> [B, O, C_out, h, w]."""
        hidden = self.conv1.add_own_half(shared[0], F.relu(x))
        return per_object(self.conv2, F.relu(hidden)) + self._skip.add_own_half(shared[1], x)


class ChannelGate(nn.Module):
    """CBAM's channel attention: sigmoid(mlp(average) + mlp(maximum)) per channel."""

    def __init__(self, channels: int):
        super().__init__()
        hidden = max(channels // 16, 1)
        self.mlp = nn.Sequential(nn.Flatten(), nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        gate = self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3)))  # [N, C]
        return x * torch.sigmoid(gate)[:, :, None, None]


class SpatialConv(nn.Module):
    """Holds the spatial gate's convolution under the name that released weights use."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)


class SpatialGate(nn.Module):
    """CBAM's spatial attention: sigmoid of a 7x7 convolution of [max over C, mean over C]."""

    def __init__(self):
        super().__init__()
        self.spatial = SpatialConv()

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)  # [N, 2, h, w]
        return x * torch.sigmoid(self.spatial.conv(pooled))


class CBAM(nn.Module):
    """Convolutional block attention: channel gate, then spatial gate."""

    def __init__(self, channels: int):
        super().__init__()
        self.ChannelGate = ChannelGate(channels)
        self.SpatialGate = SpatialGate()

    def forward(self, x: Tensor) -> Tensor:
        return self.SpatialGate(self.ChannelGate(x))


class Fuser(nn.Module):
    """Joins the image's stride-16 features with an object's: block1, then block2 over a CBAM residual."""

    def __init__(self, shared_channels: int, object_channels: int, out_channels: int, shortcut_kernel: int):
        super().__init__()
        self.block1 = ResidualBlock(shared_channels + object_channels, out_channels, shortcut_kernel)
        self.attention = CBAM(out_channels)
        self.block2 = ResidualBlock(out_channels, out_channels, shortcut_kernel)

    def forward(self, shared: tuple[Tensor, Tensor], g: Tensor) -> Tensor:
        """shared: `block1.shared_half` of f16; g [B, O, C_g, h, w] -> [B, O, C_out, h, w]."""
        g = self.block1.fuse(shared, g)
        return per_object(lambda x: self.block2(x + self.attention(x)), g)


class SensoryGates(nn.Module):
    """The gated update of the sensory memory (XMem, section 3.4; gates in the order of the released weights)."""

    def __init__(self, in_channels: int, sensory_channels: int):
        super().__init__()
        self.transform = conv3x3(in_channels + sensory_channels, 3 * sensory_channels)

    def updated(self, x: Tensor, sensory: Tensor) -> Tensor:
        """x [B, O, C, h, w], sensory [B, O, C_h, h, w] -> the new sensory memory, of the same shape."""
        gates = per_object(self.transform, torch.cat([x, sensory], 2))
        forget, update, new = gates.chunk(3, dim=2)
        forget, update, new = torch.sigmoid(forget), torch.sigmoid(update), torch.tanh(new)
        return forget * sensory * (1 - update) + update * new


class SensoryGRU(SensoryGates):
    """The update from one stride's features."""

    def forward(self, x: Tensor, sensory: Tensor) -> Tensor:
        """As `updated`."""
        return self.updated(x, sensory)
