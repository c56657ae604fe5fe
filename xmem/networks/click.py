"""The click network: an image's features once, then clicks, a box and an earlier mask -> the mask of what they mean.

A small encoder sees the image alone, so that a click costs only the light decoder. What a click means reaches every
place by likeness: how alike a place's features are to those under the nearest-in-kind click, positive or negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmem.networks.layers import ConvNormActivation
from xmem.networks.network import Network
from xmem.networks.xmem.encoders import LiteBlock, lite_blocks, lite_stem

WIDTH, FINE, FINEST = 64, 32, 16  # channels of the decoder: strides 32 to 8, 4, 2
GROUPS = 8  # parts of the features that are compared for themselves
GIVEN = 8  # maps of what is given: see `Given.maps`
NEAR, FAR = 6.0, 40.0  # pixels of the image as the network sees it, over which a click's map falls to 1 / e
ABSENT = -1.0  # likeness to no click
STRIDES = (32, 16, 8, 4)


@dataclass(frozen=True)
class Seen:
    """The features of images, a batch of B: at strides 32, 16, 8, 4 and 2, and what likeness is measured in, at strides
    8 and 4 (of length 1 in each group)."""

    laterals: tuple[Tensor, ...]
    fine: Tensor
    coarse_key: Tensor
    fine_key: Tensor

    def repeated(self, index: Tensor) -> Seen:
        """Features of the images index [N], one for each object."""
        return Seen(
            tuple(x[index] for x in self.laterals), self.fine[index], self.coarse_key[index], self.fine_key[index]
        )


@dataclass(frozen=True)
class Given:
    """What is given of N objects, in pixels of the image as the network sees it.

    clicks [N, K, 3]: x, y and 1 (of it), 0 (not of it), or -1 (no click). boxes [N, 4]: left, top, right, bottom; all
    of them -1 for none. previous [N, 1, H, W]: probability of an earlier mask, has_previous [N]: whether there is one.
    """

    clicks: Tensor
    boxes: Tensor
    previous: Tensor
    has_previous: Tensor

    def maps(self, stride: int, size: tuple[int, int]) -> Tensor:
        """[N, GIVEN, h, w]: nearness to clicks of it and not of it, small and wide; the box, and whether there is one;
        the earlier mask, and whether there is one."""
        rows, columns = (torch.arange(n, device=self.clicks.device) * stride + (stride - 1) / 2 for n in size)
        x, y, kind = (self.clicks[..., i, None, None] for i in range(3))  # [N, K, 1, 1]
        distance = torch.sqrt((columns[None] - x) ** 2 + (rows[:, None] - y) ** 2)  # [N, K, h, w]
        near = [
            (torch.exp(-distance / (length + stride / 2)) * (kind == value)).amax(1)
            for value in (1, 0)
            for length in (NEAR, FAR)
        ]
        left, top, right, bottom = (self.boxes[:, i, None, None] for i in range(4))
        has_box = (right > left).float().expand(-1, *size)
        soft = [(columns[None, None] - left), (right - columns[None, None])]
        soft += [(rows[None, :, None] - top), (bottom - rows[None, :, None])]
        inside = torch.stack([(s / stride + 0.5).clamp(0, 1).expand(-1, *size) for s in soft]).amin(0) * has_box
        known = self.has_previous[:, None, None, None].float()
        previous = (F.adaptive_avg_pool2d(self.previous, size) * known)[:, 0]
        return torch.stack([*near, inside, has_box, previous, known[:, 0].expand(-1, *size)], 1)


class Layer(ConvNormActivation):
    """Convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, dilation: int = 1):
        super().__init__(in_channels, out_channels, kernel, dilation=dilation)


class Residual(nn.Module):
    """Two layers around a skip."""

    def __init__(self, channels: int, dilation: int = 1):
        super().__init__()
        self.first = Layer(channels, channels)
        self.second = Layer(channels, channels, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class ClickNet(Network):
    """`see` once for an image, `decode` for each click."""

    shapes_at_once = 4  # of the whole image, and of closer looks at parts of it

    def __init__(self):
        super().__init__()
        self.stem = lite_stem(3)
        self.blocks, self.ends = lite_blocks()  # to stride 16
        self.blocks.append(LiteBlock(112, 192, 5, 2, 6))
        self.blocks.extend(LiteBlock(192, 192, 5, 1, 6) for _ in range(2))  # of three: size
        self.ends.append(len(self.blocks) - 1)
        self.lateral = nn.ModuleList(nn.Conv2d(c, w, 1) for c, w in zip((192, 112, 40, 24), self.widths, strict=True))
        self.smooth = Layer(WIDTH, WIDTH)
        self.coarse_key = nn.Conv2d(WIDTH, WIDTH, 1)
        self.fine_key = nn.Conv2d(WIDTH + FINE, FINE, 1)
        likeness = 2 * GROUPS
        self.enter = nn.ModuleList(
            Layer(w + GIVEN + likeness + before, w)
            for w, before in zip(self.widths, (0, WIDTH, WIDTH, WIDTH), strict=True)
        )
        self.think = nn.ModuleList(
            nn.Sequential(*(Residual(w, d) for d in dilations))
            for w, dilations in zip(self.widths, ((1, 2), (1, 2), (1,), (1,)), strict=True)
        )
        self.coarse_logit = nn.Conv2d(FINE, 1, 1)
        self.narrow = nn.Conv2d(FINE, FINEST, 1)
        self.fine = nn.Sequential(Layer(FINEST + 16 + 1, FINEST), Layer(FINEST, FINEST), nn.Conv2d(FINEST, 1, 1))

    widths = (WIDTH, WIDTH, WIDTH, FINE)

    def see(self, image: Tensor) -> Seen:
        """image [B, 3, H, W], normalised, H and W multiples of 32."""
        x, kept = self.stem(image), []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.ends:
                kept.append(x)
        f2, f4, f8, _, f16, f32 = kept  # of the two stages at stride 16, the last
        p32, p16, p8, p4 = (layer(f) for layer, f in zip(self.lateral, (f32, f16, f8, f4), strict=True))
        p16 = p16 + doubled(p32)
        p8 = self.smooth(p8 + doubled(p16))
        fine = self.fine_key(torch.cat([p4, doubled(p8)], 1))
        return Seen((p32, p16, p8, p4), f2, unit(self.coarse_key(p8)), unit(fine))

    def decode(self, seen: Seen, given: Given) -> tuple[Tensor, Tensor]:
        """Features of N images and what is given of an object in each -> logits [N, 1, H / 2, W / 2], and coarser ones
        [N, 1, H / 4, W / 4]."""
        coarse = likeness(seen.coarse_key, given.clicks, 8)
        alike = [F.avg_pool2d(coarse, 4), F.avg_pool2d(coarse, 2), coarse, likeness(seen.fine_key, given.clicks, 4)]
        x: Tensor | None = None
        for lateral, stride, like, enter, think in zip(
            seen.laterals, STRIDES, alike, self.enter, self.think, strict=True
        ):
            maps = given.maps(stride, (lateral.shape[-2], lateral.shape[-1])).to(lateral.dtype)
            parts = [lateral, maps, like.to(lateral.dtype)]
            x = think(enter(torch.cat(parts if x is None else [*parts, doubled(x)], 1)))
        assert x is not None
        rough = self.coarse_logit(x)
        logit = doubled(rough)
        return logit + self.fine(torch.cat([doubled(self.narrow(x)), seen.fine, logit], 1)), rough


def doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def unit(x: Tensor) -> Tensor:
    """[N, C, h, w], each of GROUPS parts of the channels at length 1: a cosine of it is a product."""
    return F.normalize(x.unflatten(1, (GROUPS, -1)).float(), dim=2).flatten(1, 2).to(x.dtype)


def likeness(key: Tensor, clicks: Tensor, stride: int) -> Tensor:
    """Likeness of every place to the likest click, in each group: key [N, C, h, w], clicks [N, K, 3] -> [N, 2 GROUPS,
    h, w], of clicks that are of the object, then of those that are not."""
    size = key.new_tensor([key.shape[-1], key.shape[-2]], dtype=torch.float32)
    places = (2 * (clicks[..., :2] + 0.5) / (stride * size) - 1)[:, None]  # [N, 1, K, 2] in -1..1
    at = F.grid_sample(key.float(), places, padding_mode="border", align_corners=False)[:, :, 0].to(key.dtype)
    at = at.unflatten(1, (GROUPS, -1)).transpose(2, 3)  # [N, G, K, C / G]
    like = at @ key.unflatten(1, (GROUPS, -1)).flatten(3)  # [N, G, K, h w]
    kinds = clicks[:, None, :, 2, None]
    both = [torch.where(kinds == value, like, ABSENT).amax(2) for value in (1, 0)]
    return torch.cat(both, 1).unflatten(2, key.shape[-2:])
