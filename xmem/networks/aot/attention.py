"""The attentions of a layer: of a frame over itself and over all memory frames, and of a window over the last one.

Positions of a frame are rows of a matrix, row-major: [HW, C]. C is split into heads of d = C / 8 channels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmem.pieces import WHOLE, Pieces

HEADS = 8
RADIUS = 7
WINDOW = 2 * RADIUS + 1  # of the local attention, along an axis
TILE = 18  # columns of queries at a time: few enough that most of what they are multiplied with lies in their windows


def by_head(x: Tensor) -> Tensor:
    """[N, C] -> [8, N, d], a view."""
    return x.unflatten(1, (HEADS, -1)).transpose(0, 1)


def attend(query: Tensor, key: Tensor, value: Tensor, pieces: Pieces = WHOLE) -> Tensor:
    """softmax(q k / sqrt(d)) v in each head: query [Q, C], key and value [N, C] -> [Q, C].

    The affinities [8, Q, N] are not held as a whole, or where a device has no kernel for that, as many as `pieces`
    allows.
    """
    key, value = by_head(key)[None], by_head(value)[None]
    most = max(pieces.distances // key.shape[2], 1) if pieces.distances else len(query)
    parts = query.split(most)
    out = [F.scaled_dot_product_attention(by_head(part)[None], key, value)[0] for part in parts]
    return torch.cat(out, 1).transpose(0, 1).flatten(1)


class SelfAttention(nn.Module):
    """Of a frame's positions over each other; the position code is in queries and keys only."""

    def __init__(self, channels: int):
        super().__init__()
        self.linear_Q = nn.Linear(channels, channels)
        self.linear_K = nn.Linear(channels, channels)
        self.linear_V = nn.Linear(channels, channels)
        self.projection = nn.Linear(channels, channels)

    def forward(self, x: Tensor, position: Tensor, pieces: Pieces = WHOLE) -> Tensor:
        """x, position [HW, C] -> [HW, C]."""
        placed = x + position
        return self.projection(attend(self.linear_Q(placed), self.linear_K(placed), self.linear_V(x), pieces))


class LongTermAttention(nn.Module):
    """Over every position of every memory frame; queries, keys and values come projected."""

    def __init__(self, channels: int):
        super().__init__()
        self.projection = nn.Linear(channels, channels)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, pieces: Pieces = WHOLE) -> Tensor:
        """query [HW, C], key and value [N, C] -> [HW, C]."""
        return self.projection(attend(query, key, value, pieces))


class ShortTermAttention(nn.Module):
    """Over the 15 x 15 positions of a memory frame around the query's own, with a learned code of their offsets in the
    affinity and in what is read. Positions outside the frame are left out of the softmax."""

    def __init__(self, channels: int):
        super().__init__()
        self.relative_emb_v = nn.Parameter(torch.zeros(HEADS, channels // HEADS, WINDOW**2))
        self.relative_emb_k = nn.Conv2d(channels, HEADS * WINDOW**2, 1, groups=HEADS)
        self.projection = nn.Linear(channels, channels)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, grid: tuple[int, int]) -> Tensor:
        """query, key and value [HW, C] on the grid (h, w) -> [HW, C]."""
        weight = self.relative_emb_k.weight.view(HEADS, WINDOW**2, -1)
        assert self.relative_emb_k.bias is not None
        bias = self.relative_emb_k.bias.view(HEADS, 1, WINDOW**2)
        codes = torch.baddbmm(bias, by_head(query), weight.transpose(1, 2))  # [8, HW, 225], of queries not yet scaled
        return self.projection(local_attention(query, key, value, codes, self.relative_emb_v, grid))


def local_attention(
    query: Tensor, key: Tensor, value: Tensor, codes: Tensor, value_codes: Tensor, grid: tuple[int, int]
) -> Tensor:
    """Sum over the window of a_j (v_j + R_j), with a = softmax of (q k_j / sqrt(d) + r_j) over what lies in the frame.

    query, key, value [HW, C]; codes: r [8, HW, 225], j counting rows of the window first; value_codes: R [8, d, 225]
    -> [HW, C].

    A row of queries at a time, in tiles of columns, is multiplied with all keys of its 15 rows and of the columns that
    any of the tile's windows holds, and a strided view finds each query's window in the product. So no keys or values
    are copied per window: beside the plain way's 2 x [HW, 225, C], that is a hundredth of the memory.
    """
    height, width = grid
    tiles = math.ceil(width / TILE)
    tile = math.ceil(width / tiles)
    span = tile + 2 * RADIUS  # columns of keys that a tile's windows cover
    batch = HEADS * tiles
    dims = value_codes.shape[1]
    queries = _tiled(query, grid, tiles, tile, 0)  # [8 tiles, h, tile, d]
    keys = _tiled(key, grid, tiles, tile, RADIUS).flatten(2, 3)  # [8 tiles, h, span d]
    values = _tiled(value, grid, tiles, tile, RADIUS).flatten(2, 3)
    queries = queries / math.sqrt(dims)
    codes = _tiled(codes.transpose(0, 1).flatten(1), grid, tiles, tile, 0)
    codes = codes.unflatten(3, (WINDOW, WINDOW))  # [8 tiles, h, tile, 15, 15]
    outside = _outside(width, tiles, tile, query.device)  # [8 tiles, tile, 1, 15]
    value_codes = value_codes.transpose(1, 2).unflatten(1, (WINDOW, WINDOW)).contiguous()  # [8, 15, 15, d]
    out = query.new_empty((height, batch, tile, dims))
    for y in range(height):
        top, bottom = max(y - RADIUS, 0), min(y + RADIUS + 1, height)
        rows = bottom - top
        own = slice(top - y + RADIUS, bottom - y + RADIUS)  # of the window's rows, those in the frame
        products = torch.bmm(queries[:, y], keys[:, top:bottom].reshape(batch, rows * span, dims).transpose(1, 2))
        # from one query to the next, the window moves by a column
        window = products.as_strided((batch, tile, rows, WINDOW), (tile * rows * span, rows * span + 1, span, 1))
        logits = (window.float() + codes[:, y, :, own]).masked_fill_(outside, -math.inf)
        weights = torch.softmax(logits.flatten(2), 2).to(query.dtype)  # [8 tiles, tile, rows 15]
        products.zero_()
        window.copy_(weights.view(window.shape))
        torch.bmm(products, values[:, top:bottom].reshape(batch, rows * span, dims), out=out[y])
        out[y].view(HEADS, -1, dims).baddbmm_(
            weights.view(HEADS, tiles * tile, -1), value_codes[:, own].reshape(HEADS, -1, dims)
        )
    out = out.view(height, HEADS, tiles * tile, dims)[:, :, :width]
    return out.transpose(1, 2).reshape(height * width, -1)


def _tiled(x: Tensor, grid: tuple[int, int], tiles: int, tile: int, radius: int) -> Tensor:
    """Columns in overlapping tiles, zeros beside the frame: [HW, 8 c] -> [8 tiles, h, tile + 2 radius, c]."""
    height, width = grid
    x = F.pad(x.view(height, width, -1), (0, 0, radius, radius + tiles * tile - width))
    x = x.unfold(1, tile + 2 * radius, tile).unflatten(2, (HEADS, -1))  # [h, tiles, 8, c, columns]
    return x.permute(2, 1, 0, 4, 3).flatten(0, 1).contiguous()


def _outside(width: int, tiles: int, tile: int, device: torch.device) -> Tensor:
    """Which columns of each query's window lie beside the frame: [8 tiles, tile, 1, 15]. Queries beside it, which fill
    up the last tile, have all of theirs, lest they have nothing to choose from."""
    column = torch.arange(tiles * tile, device=device)[:, None]
    place = column + torch.arange(-RADIUS, RADIUS + 1, device=device)
    outside = ((place < 0) | (place >= width)) & (column < width)
    return outside.view(tiles, tile, 1, WINDOW).repeat(HEADS, 1, 1, 1)
