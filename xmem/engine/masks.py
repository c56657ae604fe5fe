"""Probabilities -> index masks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def index_mask(prob: Tensor, objects: list[int], given: np.ndarray | None = None) -> np.ndarray:
    """The most probable object of each pixel; where a mask was given, exactly that for the ids it contains.

    prob: [O + 1, H, W], background first; objects: ids of its channels; given: index mask [H, W].
    Returns uint8 [H, W].
    """
    return index_of(prob, objects, given).cpu().numpy()


def index_of(prob: Tensor, objects: list[int], given: np.ndarray | None = None) -> Tensor:
    """`index_mask`, still on the device."""
    best, index = prob[0], torch.zeros(prob.shape[1:], dtype=torch.uint8, device=prob.device)
    for channel, i in enumerate(objects, start=1):  # a running maximum: argmax over the first axis is ten times slower
        score = prob[channel]
        if given is not None and (claimed := given == i).any():
            score = torch.where(torch.from_numpy(claimed).to(prob.device), 2.0, -1.0)  # beyond every probability
        index = torch.where(score > best, i, index)
        best = torch.maximum(best, score)
    return index
