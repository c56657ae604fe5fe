"""Reading memory: anisotropic L2 similarity, top-k softmax, sparse readout (XMem, section 3.5, equations 1 to 4).

The similarity S of the paper is minus a weighted squared distance; here it is that distance D = -S, of which the
lowest are sought. Sums and the softmax are float32, with the row's lowest distance subtracted, whatever the network's
precision: keys far from every query would underflow to 0/0, and squares overflow float16.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from xmem.device import multiplies_bfloat16

CHUNK_ELEMENTS = 2**25  # distances held at once (128 MiB): bounds memory at large frames
# On a CPU 64 MiB, in a buffer that is kept: with 16 MiB that were allocated anew, the product and the choice of the
# nearest took 1.4 times as long (480p, 26,200 elements, two cores of an AMD EPYC, Zen 4).
CPU_CHUNK_ELEMENTS = 2**24
SMALLEST_CHUNK_ELEMENTS = 2**18  # 1 MiB: what a device that is full is still asked for
TOP_K_BLOCKS = 8  # elements of which only the nearest is looked at first


def row_type(key: Tensor) -> torch.dtype:
    """The type of prepared rows: float32, but bfloat16 beside a network in bfloat16 on a CPU that multiplies it.

    Keys have been rounded to bfloat16 there already. On DAVIS clips of 4,128 elements, 98 of 100 elements chosen by
    xmem-lite were the same and weights moved by 3 % (XMem: 95, 1 %). The product takes a third of the time.
    """
    is_rounded = key.is_cpu and key.dtype == torch.bfloat16 and multiplies_bfloat16()
    return torch.bfloat16 if is_rounded else torch.float32


def prepare_memory(key: Tensor, shrinkage: Tensor | None, dtype: torch.dtype = torch.float32) -> Tensor:
    """The memory side of the distance, so that one matrix product gives it; computed once per element.

    key [N, C_k], shrinkage [N, 1] -> [N, 2 C_k + 1] of the given type. Without shrinkage, for queries without
    selection (STCN's plain L2 distance), half as wide: [N, C_k + 4].
    """
    key, root = key.float(), math.sqrt(key.shape[1])
    if shrinkage is None:
        square = key.square().sum(1, keepdim=True) / root
        one = torch.full_like(square, 1 / root)
        return torch.cat([*_halves(square, dtype), -2 / root * key, one, one], 1).to(dtype)
    shrinkage = shrinkage.float()
    rows = torch.cat([key.square(), -2 * key, torch.ones_like(shrinkage)], 1)
    return (rows * (shrinkage / root)).to(dtype)


def prepare_query(key: Tensor, selection: Tensor | None, dtype: torch.dtype = torch.float32) -> Tensor:
    """The query side: key [Q, C_k], selection [Q, C_k] -> [Q, 2 C_k + 1] of the given type; without selection,
    [Q, C_k + 4]."""
    key = key.float()
    if selection is None:
        square = key.square().sum(1, keepdim=True)
        one = torch.ones_like(square)
        return torch.cat([one, one, key, *_halves(square, dtype)], 1).to(dtype)
    selection = selection.float()
    weighted = selection * key
    return torch.cat([selection, weighted, (weighted * key).sum(1, keepdim=True)], 1).to(dtype)


def _halves(square: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A sum of squares as two summands of the given type: one alone would be rounded by more than what distances of
    near elements differ by."""
    high = square.to(dtype).float()
    return high, square - high


def distance(query: Tensor, memory: Tensor, out: Tensor | None = None) -> Tensor:
    """D_ij = s_i sum_c e_cj (k_ci - q_cj)^2 / sqrt(C_k) of prepared rows: [Q, C], [N, C] -> [Q, N], in `out`.

    Without shrinkage and selection, s and e are one.
    """
    with torch.autocast(query.device.type, enabled=False):
        return torch.mm(query, memory.T, out=out)


def top_k_softmax(distances: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Softmax of -D over each row's k nearest elements, or over all if there are fewer.

    distances [Q, N] -> weights float32 [Q, k], summing to one, and their element indices [Q, k].
    """
    nearest, index = _lowest(distances, min(k, distances.shape[1]))
    return torch.softmax(-nearest, 1), index  # softmax subtracts the maximum


def _lowest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Each row's k lowest, unsorted: [Q, N] -> float32 values and indices [Q, k].

    On a CPU in half of `topk`'s time at 26,200 elements. Each of a row's k lowest lies in one of the k blocks with the
    lowest minima (or equals what does), so only these blocks' elements, and those that fill no block, are sorted; the
    blocks are found in the same way. A block's elements lie N / 8 apart, so that the minima of neighbouring blocks are
    taken by one vector instruction.
    """
    queries, blocks = len(values), values.shape[1] // TOP_K_BLOCKS
    if not values.is_cpu or blocks <= 2 * k:
        return values.float().topk(k, 1, largest=False, sorted=False)  # of bfloat16 it takes twice as long
    covered = blocks * TOP_K_BLOCKS
    table = values[:, :covered].unflatten(1, (TOP_K_BLOCKS, blocks))  # [Q, 8, blocks]
    chosen = _lowest(_minima(table), k)[1]  # [Q, k]
    candidates = table.gather(2, chosen[:, None].expand(queries, TOP_K_BLOCKS, k)).flatten(1)
    candidates = torch.cat([candidates, values[:, covered:]], 1).float()
    lowest, place = candidates.topk(k, 1, largest=False, sorted=False)
    row, column = place // k, chosen.gather(1, place % k)
    rest = place + (covered - TOP_K_BLOCKS * k)  # where an element that fills no block was chosen
    return lowest, torch.where(row < TOP_K_BLOCKS, row * blocks + column, rest)


def _minima(table: Tensor) -> Tensor:
    """Minima along axis 1 of distances, [Q, 8, blocks] -> [Q, blocks].

    Positive bfloat16 numbers are in the order of their bits, read as integers, whose minima take a third of the time.
    Distances that rounding made negative come before them, as they should; their own order, by which only what is
    nearest of all could be taken for another such, is the reverse.
    """
    if table.dtype != torch.bfloat16:
        return table.amin(1)
    return table.view(torch.int16).amin(1).view(torch.bfloat16)


def read_values(values: Tensor, weights: Tensor, index: Tensor) -> Tensor:
    """Weighted sums of only the k values that each query chose: no dense [Q, N] product.

    values [N, C], weights [Q, k], index [Q, k] -> [Q, C].
    """
    return F.embedding_bag(index, values, per_sample_weights=weights.to(values.dtype), mode="sum")


def chunk_elements(device: torch.device) -> int:
    """Distances that a read holds at once on a device that has room."""
    return CPU_CHUNK_ELEMENTS if device.type == "cpu" else CHUNK_ELEMENTS


def query_chunks(queries: int, elements: int, at_once: int) -> list[slice]:
    """Even query ranges, so small that no more than `at_once` distances (or one query's) are held at a time."""
    most = max(at_once // max(elements, 1), 1)
    step = math.ceil(queries / math.ceil(queries / most))
    return [slice(start, min(start + step, queries)) for start in range(0, queries, step)]
