"""What the plain forms of several families have in common."""

import torch
import torch.nn.functional as F


def _margins(size):
    top, left = -size[0] % 16 // 2, -size[1] % 16 // 2
    return left, -size[1] % 16 - left, top, -size[0] % 16 - top


def padded(x):
    """Zeros around [..., H, W] to multiples of 16; the odd one right or below."""
    return F.pad(x, _margins(x.shape[-2:]))


def unpadded(x, size):
    left, _, top, _ = _margins(size)
    return x[..., top : top + size[0], left : left + size[1]]


def one_hot(mask, ids):
    return torch.stack([torch.from_numpy(mask == i) for i in ids]).float()


def log_odds(prob):
    """Independent probabilities [O, H, W] -> [O + 1, H, W], background first."""
    prob = torch.cat([(1 - prob).prod(0, keepdim=True), prob]).clamp(1e-7, 1 - 1e-7)
    return torch.log(prob / (1 - prob))


def aggregate(prob):
    return log_odds(prob).softmax(0)
