"""Long short-term transformer: brings what memory frames hold to the positions of a frame (AOT, section 4.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmem.networks.aot.attention import LongTermAttention, SelfAttention, ShortTermAttention
from xmem.pieces import WHOLE, Pieces

FEED_FORWARD = 4  # times the channels
NORM_GROUPS = 32
TEMPERATURE = 10_000


class LayerMemory(NamedTuple):
    """What a layer reads: keys and values of all memory frames [N, C], and of the last one [HW, C]."""

    long_key: Tensor
    long_value: Tensor
    short_key: Tensor
    short_value: Tensor


class LayerTrace(NamedTuple):
    """What a layer leaves of a frame [HW, C]: its key, and what becomes its value with the identities' code."""

    key: Tensor
    content: Tensor


class FeedForwardActivation(nn.Module):
    """Group norm, GELU and a depthwise 5x5 convolution on the frame's grid."""

    def __init__(self, channels: int):
        super().__init__()
        self.gn = nn.GroupNorm(NORM_GROUPS, channels)
        self.conv = nn.Conv2d(channels, channels, 5, padding=2, groups=channels, bias=False)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """x [HW, C] on the grid (h, w) -> [HW, C]."""
        return to_rows(self.conv(F.gelu(self.gn(to_grid(x, grid)))))


class Layer(nn.Module):
    """Self-attention, long-term and short-term attention side by side, and a feed-forward part, all residual."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.self_attn = SelfAttention(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.linear_Q = nn.Linear(channels, channels)
        self.linear_V = nn.Linear(channels, channels)
        self.long_term_attn = LongTermAttention(channels)
        self.short_term_attn = ShortTermAttention(channels)
        self.norm3 = nn.LayerNorm(channels)
        self.linear1 = nn.Linear(channels, FEED_FORWARD * channels)
        self.activation = FeedForwardActivation(FEED_FORWARD * channels)
        self.linear2 = nn.Linear(FEED_FORWARD * channels, channels)

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        grid: tuple[int, int],
        memory: LayerMemory | None,
        identity: Tensor | None,
        pieces: Pieces = WHOLE,
    ) -> tuple[Tensor, LayerTrace]:
        """x, position [HW, C] -> the layer's output [HW, C], and what it leaves.

        memory: what is read; None on a reference frame, which reads itself, its values carrying `identity` [HW, C].
        """
        x = x + self.self_attn(self.norm1(x), position, pieces)
        content = self.norm2(x)
        key = self.linear_Q(content)  # of the query, too: one projection for both
        if memory is None:
            assert identity is not None, "a reference frame has one"
            value = self.value(content, identity)
            memory = LayerMemory(key, value, key, value)
        x = (
            x
            + self.long_term_attn(key, memory.long_key, memory.long_value, pieces)
            + self.short_term_attn(key, memory.short_key, memory.short_value, grid)
        )
        x = x + self.linear2(self.activation(self.linear1(self.norm3(x)), grid))
        return x, LayerTrace(key, content)

    def value(self, content: Tensor, identity: Tensor) -> Tensor:
        """What is remembered beside the key: content, identity [HW, C] -> [HW, C]."""
        return self.linear_V(content + identity)


class LongShortTermTransformer(nn.Module):
    """The layers, and a norm of each one's output for the decoder."""

    def __init__(self, channels: int, layers: int):
        super().__init__()
        self.mask_token = nn.Parameter(torch.zeros(1, 1, channels))  # released weights hold one; nothing uses it
        self.layers = nn.ModuleList(Layer(channels) for _ in range(layers))
        self.decoder_norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(layers))

    def forward(
        self,
        x: Tensor,
        grid: tuple[int, int],
        memory: Sequence[LayerMemory] | None,
        identity: Tensor | None,
        pieces: Pieces = WHOLE,
    ) -> tuple[list[Tensor], list[LayerTrace]]:
        """x [HW, C]; memory: each layer's, or None on a reference frame, of which identity [HW, C] tells the objects
        -> each layer's normed output [HW, C], and what it leaves."""
        position = position_code(x.shape[1], grid, x.device).to(x.dtype)
        outputs, traces = [], []
        for i, (layer, norm) in enumerate(zip(self.layers, self.decoder_norms, strict=True)):
            x, trace = layer(x, position, grid, memory and memory[i], identity, pieces)
            outputs.append(norm(x))
            traces.append(trace)
        return outputs, traces


def position_code(channels: int, grid: tuple[int, int], device: torch.device) -> Tensor:
    """Sines and cosines of each position's row, then column, each scaled to a circle: float32 [HW, C]."""
    height, width = grid
    index = torch.arange(channels // 2, device=device)
    frequency = TEMPERATURE ** (2 * (index // 2) / (channels // 2))
    rows, columns = (
        torch.arange(n, device=device)[:, None] * (2 * math.pi / (n - 1 + 1e-6)) / frequency for n in grid
    )  # [h, C / 2], [w, C / 2]
    rows, columns = (torch.where(index % 2 == 0, angle.sin(), angle.cos()) for angle in (rows, columns))
    shape = height, width, channels // 2
    return torch.cat([rows[:, None].expand(shape), columns.expand(shape)], 2).flatten(0, 1)


def to_grid(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """[HW, C] -> [1, C, h, w], channels-last, a view."""
    return x.view(1, *grid, -1).permute(0, 3, 1, 2)


def to_rows(x: Tensor) -> Tensor:
    """[1, C, h, w] -> [HW, C]; a view where x is channels-last."""
    return x[0].flatten(1).T.contiguous()
