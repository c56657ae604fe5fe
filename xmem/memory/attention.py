"""Reading memory: anisotropic L2 similarity, top-k softmax, sparse readout (XMem, section 3.5, equations 1 to 4).

Everything that decides who is read runs in float32 with the row's maximum subtracted, whatever the network's precision:
keys far from every query would underflow to 0/0, and squares overflow half precision.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK_ELEMENTS = 2**25  # similarities held at once (128 MiB): bounds memory at large frames
# On a CPU 64 MiB, in a buffer that is kept: with 16 MiB that were allocated anew, the product and the choice of the
# highest took 1.4 times as long (480p, 26,200 elements, two cores of an AMD EPYC, Zen 4).
CPU_CHUNK_ELEMENTS = 2**24
SMALLEST_CHUNK_ELEMENTS = 2**18  # 1 MiB: what a device that is full is still asked for
TOP_K_BLOCKS = 8  # elements of which only the highest is looked at first


def prepare_memory(key: Tensor, shrinkage: Tensor) -> Tensor:
    """The memory side of the similarity, so that one matrix product gives it; computed once per element.

    key [N, C_k], shrinkage [N, 1] -> [N, 2 C_k + 1].
    """
    key, shrinkage = key.float(), shrinkage.float()
    rows = torch.cat([-key.square(), 2 * key, -torch.ones_like(shrinkage)], 1)
    return rows * (shrinkage / math.sqrt(key.shape[1]))


def prepare_query(key: Tensor, selection: Tensor) -> Tensor:
    """The query side: key [Q, C_k], selection [Q, C_k] -> [Q, 2 C_k + 1]."""
    key, selection = key.float(), selection.float()
    weighted = selection * key
    return torch.cat([selection, weighted, (weighted * key).sum(1, keepdim=True)], 1)


def similarity(query: Tensor, memory: Tensor, out: Tensor | None = None) -> Tensor:
    """S_ij = -s_i sum_c e_cj (k_ci - q_cj)^2 / sqrt(C_k) of prepared rows: [Q, C], [N, C] -> [Q, N], in `out`."""
    with torch.autocast(query.device.type, enabled=False):
        return torch.mm(query, memory.T, out=out)


def top_k_softmax(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Softmax over each row's k highest scores, or over all if there are fewer.

    scores [Q, N] -> weights [Q, k], summing to one, and their element indices [Q, k].
    """
    is_long = scores.is_cpu and scores.shape[1] > 4 * k * TOP_K_BLOCKS
    best, index = _blockwise_top_k(scores, k) if is_long else scores.topk(min(k, scores.shape[1]), 1, sorted=False)
    return torch.softmax(best, 1), index  # softmax subtracts the maximum


def _blockwise_top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """`scores.topk(k, 1)` on a CPU in half the time, unsorted: [Q, N] -> values and indices [Q, k].

    Each of a row's k highest lies in one of the k blocks with the highest maxima (or equals what does), so only these
    blocks' elements, and those that fill no block, are sorted. A block's elements lie N / 8 apart, so that the maxima
    of neighbouring blocks are taken by one vector instruction.
    """
    queries, blocks = len(scores), scores.shape[1] // TOP_K_BLOCKS
    covered = blocks * TOP_K_BLOCKS
    table = scores[:, :covered].unflatten(1, (TOP_K_BLOCKS, blocks))  # [Q, 16, blocks]
    chosen = table.amax(1).topk(k, 1, sorted=False).indices  # [Q, k]
    candidates = table.gather(2, chosen[:, None].expand(queries, TOP_K_BLOCKS, k)).flatten(1)
    best, place = torch.cat([candidates, scores[:, covered:]], 1).topk(k, 1, sorted=False)
    row, column = place // k, chosen.gather(1, place % k)
    rest = place + (covered - TOP_K_BLOCKS * k)  # where an element that fills no block was chosen
    return best, torch.where(row < TOP_K_BLOCKS, row * blocks + column, rest)


def read_values(values: Tensor, weights: Tensor, index: Tensor) -> Tensor:
    """Weighted sums of only the k values that each query chose: no dense [Q, N] product.

    values [N, C], weights [Q, k], index [Q, k] -> [Q, C].
    """
    return F.embedding_bag(index, values, per_sample_weights=weights.to(values.dtype), mode="sum")


def chunk_elements(device: torch.device) -> int:
    """Similarities that a read holds at once on a device that has room."""
    return CPU_CHUNK_ELEMENTS if device.type == "cpu" else CHUNK_ELEMENTS


def query_chunks(queries: int, elements: int, at_once: int) -> list[slice]:
    """Query ranges small enough that no more than `at_once` similarities (or one query's) are held at a time."""
    step = max(at_once // max(elements, 1), 1)
    return [slice(start, min(start + step, queries)) for start in range(0, queries, step)]
