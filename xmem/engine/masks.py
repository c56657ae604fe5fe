"""Probabilities -> index masks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from xmem.engine.transfers import upload


def index_mask(prob: Tensor, objects: list[int], given: np.ndarray | None = None) -> np.ndarray:
    """The most probable object of each pixel; where a mask was given, exactly that for the ids it contains.

    prob: [O + 1, H, W], background first; objects: ids of its channels, ascending; given: index mask [H, W].
    Returns uint8 [H, W].
    """
    return index_of(prob, objects, given).cpu().numpy()


def index_of(prob: Tensor, objects: list[int], given: np.ndarray | None = None) -> Tensor:
    """`index_mask`, still on the device."""
    if prob.is_cpu or given is not None:
        return _running_maximum(prob, objects, given)
    index = prob.argmax(0).to(torch.uint8)  # of equals the first, as below
    # Channels in order of their ids, which mostly are 1, 2, 3 ...: each gap among these takes a step, and no table of
    # ids, which would have to be brought to the device.
    for channel, (before, i) in reversed(list(enumerate(pairwise([0, *objects]), start=1))):
        if i != before + 1:
            index += (index >= channel) * (i - before - 1)
    return index


def _running_maximum(prob: Tensor, objects: list[int], given: np.ndarray | None) -> Tensor:
    """On a CPU argmax over the first axis is ten times slower, and so is choosing where objects have a ragged edge: of
    ascending ids the one that wins last is the largest."""
    best, index = prob[0], None
    for channel, i in enumerate(objects, start=1):
        score = prob[channel]
        if given is not None and (claimed := given == i).any():
            score = torch.where(upload(claimed, prob.device), 2.0, -1.0)  # beyond every probability
        wins = _above(score, best).view(torch.uint8)
        wins = wins * i if i > 1 else wins
        index = wins if index is None else torch.maximum(index, wins)
        if channel < len(objects):
            best = torch.maximum(best, score)
    return torch.zeros_like(best, dtype=torch.uint8) if index is None else index


def _above(a: Tensor, b: Tensor) -> Tensor:
    """a > b. NumPy compares floats a few times as fast as torch does on a CPU."""
    if a.is_cpu and a.dtype == b.dtype == torch.float32:
        return torch.from_numpy(np.greater(a.numpy(), b.numpy()))
    return a > b
