"""One clip through the network as XMem trains it (section 3.6 of the paper): few memory frames, all differentiable."""

from dataclasses import dataclass
from types import MethodType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmem.engine.preparing import IMAGE_MEAN, IMAGE_STD
from xmem.networks.layers import ConvNormActivation
from xmem.networks.xmem import XMem, aggregate
from xmem.training.losses import reading_loss, segmentation_loss

MEMORY_SHARE = 0.6  # of the frames after the first that are remembered
MAX_REFERENCES = 3  # memory frames that one frame reads


@dataclass(frozen=True)
class ClipPlan:
    """The coins of one training step, so that a step is a pure function of its seed.

    references[t]: memory frames that frame t reads; deep[t]: whether frame t updates the sensory memory deeply;
    synchronised[t]: whether that deep update replaces the decoder's, as at test time, instead of following it.
    """

    references: tuple[tuple[int, ...], ...]
    deep: tuple[bool, ...]
    synchronised: tuple[bool, ...]

    @classmethod
    def random(cls, rng: np.random.Generator, frames: int) -> "ClipPlan":
        """Frame 0 is always in memory, each later frame with probability MEMORY_SHARE."""
        stored = [0] + [t for t in range(1, frames - 1) if rng.random() < MEMORY_SHARE]
        references = []
        for t in range(frames):
            past = [s for s in stored if s < t]
            chosen = rng.choice(past, MAX_REFERENCES, replace=False) if len(past) > MAX_REFERENCES else past
            references.append(tuple(sorted(int(s) for s in chosen)))
        deep = [t in stored and rng.random() < 0.5 for t in range(frames)]
        return cls(tuple(references), tuple(deep), tuple(d and rng.random() < 0.5 for d in deep))

    def remembers(self, frame: int) -> bool:
        """Whether a later frame reads this one, or its deep update changes the sensory memory."""
        return self.deep[frame] or any(frame in read for read in self.references)


def fold_frozen_norms(model: nn.Module) -> None:
    """Let each convolution with a frozen batch norm run as one convolution: same function and parameters, less traffic.

    Only for `ConvNormActivation` layers (the lite encoders); statistics never change, their affine parameters train.
    On a CPU depthwise ones stay in float32 under autocast, as their gradients are slow in bfloat16: a micro-batch took
    0.67 of its time in float32, and of that in bfloat16 throughout (one core of an AMD EPYC, Zen 4).
    """

    def forward(self: Any, x: Tensor) -> Tensor:
        if self[0].groups > 1 and x.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):
                return folded(self, x.float())
        return folded(self, x)

    def folded(self: Any, x: Tensor) -> Tensor:
        conv, norm = self[0], self[1]
        gain = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        bias = norm.bias - norm.running_mean * gain
        weight = conv.weight * gain[:, None, None, None]
        x = F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)
        return F.hardtanh(x, 0.0, 6.0) if len(self) > 2 else x

    for module in model.modules():
        if isinstance(module, ConvNormActivation):
            module.forward = MethodType(forward, module)  # type: ignore[method-assign]


def to_network(frames: np.ndarray, device: torch.device) -> Tensor:
    """uint8 [B, T, H, W, 3] -> normalised float32 [B, T, 3, H, W]."""
    images = torch.from_numpy(frames).to(device, non_blocking=True).movedim(-1, 2).float() / 255
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))
    return (images - mean) / std


def affinity(keys: Tensor, shrinkage: Tensor, query: Tensor, selection: Tensor) -> Tensor:
    """Softmax over all memory elements (spec section 3 without top-k), in float32 with the maximum subtracted.

    keys [B, C_k, N], shrinkage [B, 1, N], query and selection [B, C_k, h, w] -> [B, N, h, w].
    """
    size = query.shape[-2:]
    with torch.autocast(query.device.type, enabled=False):
        keys, shrinkage = keys.float(), shrinkage.float()
        query, selection = query.float().flatten(2), selection.float().flatten(2)  # [B, C_k, HW]
        squares = keys.pow(2).transpose(1, 2) @ selection  # [B, N, HW]
        products = keys.transpose(1, 2) @ (query * selection)
        distance = squares - 2 * products + (selection * query.pow(2)).sum(1, keepdim=True)
        similarity = -distance * shrinkage.transpose(1, 2) / keys.shape[1] ** 0.5
        return torch.softmax(similarity, dim=1).unflatten(-1, size)  # torch subtracts the maximum


def read_memory(weights: Tensor, contents: Tensor) -> Tensor:
    """Contents [B, ..., N] of memory elements, weighted by affinity [B, N, h, w] -> [B, ..., h, w], in float32."""
    with torch.autocast(weights.device.type, enabled=False):
        read = contents.float().flatten(1, -2) @ weights.flatten(2)
    return read.unflatten(1, contents.shape[1:-1]).unflatten(-1, weights.shape[-2:])


def clip_loss(
    model: XMem,
    images: Tensor,
    labels: Tensor,
    objects: int,
    plan: ClipPlan,
    hard_share: float,
    reading_weight: float = 0.0,
) -> Tensor:
    """Mean loss of the frames after the first, whose masks are given.

    images [B, T, 3, H, W] normalised, labels int64 [B, T, H, W] with 0..objects.
    reading_weight: of `reading_loss`.
    """
    batch, frames = images.shape[:2]
    keys, shrinkages, selections, features = model.encode_key(images.flatten(0, 1))
    keys, shrinkages, selections = (x.unflatten(0, (batch, frames)) for x in (keys, shrinkages, selections))
    f16, f8, f4 = (f.unflatten(0, (batch, frames)) for f in features)
    masks = F.one_hot(labels[:, 0], objects + 1).movedim(-1, 1)[:, 1:].float()  # [B, O, H, W]
    shares = label_shares(labels, objects, (keys.shape[-2], keys.shape[-1])) if reading_weight else None
    sensory = model.initial_sensory(batch, objects, *keys.shape[-2:])
    first, sensory = model.encode_value(images[:, 0], f16[:, 0], masks, sensory, True)
    values, losses = {0: first}, []
    for t in range(1, frames):
        read = plan.references[t]
        memory_keys, memory_shrinkage = (torch.cat([x[:, s].flatten(2) for s in read], -1) for x in (keys, shrinkages))
        memory_values = torch.cat([values[s].flatten(3) for s in read], -1)
        weights = affinity(memory_keys, memory_shrinkage, keys[:, t], selections[:, t])
        readout = read_memory(weights, memory_values)
        frame_features = f16[:, t], f8[:, t], f4[:, t]
        last = t == frames - 1
        update = not last and not (plan.deep[t] and plan.synchronised[t])
        logits, sensory = model.decode(frame_features, readout, sensory, update)
        logits = aggregate(torch.sigmoid(logits.float()))
        losses.append(segmentation_loss(logits, labels[:, t], hard_share))
        if shares is not None:
            read_shares = read_memory(weights, torch.cat([shares[:, s].flatten(2) for s in read], -1))
            losses[-1] = losses[-1] + reading_weight * reading_loss(read_shares, shares[:, t], hard_share)
        if not last and plan.remembers(t):
            masks = torch.softmax(logits, dim=1)[:, 1:]
            values[t], sensory = model.encode_value(images[:, t], frame_features[0], masks, sensory, plan.deep[t])
    return torch.stack(losses).mean()


def label_shares(labels: Tensor, objects: int, size: tuple[int, int]) -> Tensor:
    """What part of each place of a grid (h, w) the background and each object have, by labels int64 [B, T, H, W]:
    float32 [B, T, O + 1, h, w]."""
    one_hot = F.one_hot(labels, objects + 1).movedim(-1, 2).float()
    return F.adaptive_avg_pool2d(one_hot.flatten(0, 1), size).unflatten(0, labels.shape[:2])
