"""Reading memory otherwise: rows padded for tensor cores, products of split bfloat16, top-k by blocks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

COLUMNS = 8  # tensor cores take multiples of it
BLOCKS = 32  # elements of which the nearest is looked at first


def padded(rows: Tensor) -> Tensor:
    """Prepared rows [n, C] with zeros behind them, which change no product: [n, C rounded up to COLUMNS]."""
    return F.pad(rows, (0, -rows.shape[1] % COLUMNS))


def split(rows: Tensor, of_queries: bool) -> Tensor:
    """float32 [n, C] -> bfloat16 [n, 3 C], of which one product gives that of the float32 rows within 2^-16 of its
    summands: high and low halves side by side, so that each pair but low with low meets once."""
    high = rows.to(torch.bfloat16)
    low = (rows - high.float()).to(torch.bfloat16)
    return torch.cat([high, high, low] if of_queries else [high, low, high], 1)


def product(queries: Tensor, memory: Tensor) -> Tensor:
    """Distances float32 [Q, N] of rows of whichever kind, summed in float32."""
    if queries.dtype == torch.float32:
        return torch.mm(queries, memory.T)
    if queries.is_cuda:
        return torch.mm(queries, memory.T, out_dtype=torch.float32)
    return torch.mm(queries.float(), memory.float().T)


def nearest_by_blocks(distances: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Each row's k lowest, unsorted: [Q, N] -> values and indices [Q, k]. Each lies in one of the k blocks with the
    lowest minima, so that only these are sorted."""
    queries, elements = distances.shape
    blocks = elements // BLOCKS
    if blocks <= k:
        return torch.topk(distances, k, 1, largest=False, sorted=False)
    covered = blocks * BLOCKS
    table = distances[:, :covered].unflatten(1, (BLOCKS, blocks))  # a block's elements lie `blocks` apart
    chosen = table.amin(1).topk(k, 1, largest=False, sorted=False).indices  # [Q, k]
    at = (chosen[:, None] + blocks * torch.arange(BLOCKS, device=distances.device)[:, None]).flatten(1)
    rest = torch.arange(covered, elements, device=distances.device).expand(queries, -1)
    at = torch.cat([at, rest], 1)
    values, place = distances.gather(1, at).topk(k, 1, largest=False, sorted=False)
    return values, at.gather(1, place)
