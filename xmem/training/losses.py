"""Losses on aggregated object probabilities (XMem, section 4): cross-entropy of the hardest pixels, and dice.

`reading_loss` is not of the paper: it sets the keys of an object apart from those of what looks like it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def hardest_cross_entropy(logits: Tensor, label: Tensor, share: float) -> Tensor:
    """Mean cross-entropy of the `share` (0..1) of each image's pixels that have the highest.

    logits [B, O + 1, H, W] (log-odds after aggregation), label int64 [B, H, W].
    """
    loss = F.cross_entropy(logits, label, reduction="none").flatten(1)  # [B, H * W]
    if share < 1:
        loss = loss.topk(max(1, int(share * loss.shape[1])), dim=1, sorted=False).values
    return loss.mean()


def dice(probabilities: Tensor, label: Tensor) -> Tensor:
    """1 - soft dice, averaged over objects and images.

    probabilities [B, O + 1, H, W] with the background first, label int64 [B, H, W].
    """
    objects = probabilities.shape[1]
    truth = F.one_hot(label, objects).movedim(-1, 1)[:, 1:].flatten(2).to(probabilities.dtype)  # [B, O, H * W]
    predicted = probabilities[:, 1:].flatten(2)
    overlap = 2 * (predicted * truth).sum(-1)
    return (1 - (overlap + 1) / (predicted.sum(-1) + truth.sum(-1) + 1)).mean()


def segmentation_loss(logits: Tensor, label: Tensor, share: float) -> Tensor:
    """Cross-entropy of the hardest pixels plus dice for one frame; computed in float32."""
    logits = logits.float()
    return hardest_cross_entropy(logits, label, share) + dice(torch.softmax(logits, dim=1), label)


def reading_loss(read: Tensor, shares: Tensor, share: float) -> Tensor:
    """How far a frame's places read from memory places of other objects: divergence, mean of the hardest places.

    read, shares [B, O + 1, h, w]: what part of each place the background and each object have, by the labels of the
    memory places that it reads, weighted as it reads them, and by its own labels. share (0..1): of the places.
    """
    divergence = (shares * (shares.clamp(min=1e-4).log() - read.clamp(min=1e-4).log())).sum(1).flatten(1)
    return divergence.topk(max(1, int(share * divergence.shape[1])), dim=1, sorted=False).values.mean()
