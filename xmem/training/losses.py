"""Losses on aggregated object probabilities (XMem, section 4): cross-entropy of the hardest pixels, and dice."""

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
