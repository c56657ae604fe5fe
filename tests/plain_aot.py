"""AOT's stepping as its description reads: every frame's keys and values in plain lists, one engine per ten objects.

The oracle of the tests: nothing is reused, preallocated or dropped. Objects are numbered from 1 in order of arrival.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xmem.networks.aot import AOT, IDENTITIES, LayerMemory

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def input_size(height: int, width: int) -> tuple[int, int]:
    """Of frames whose long edge is not above 1040."""
    return 16 * round((height - 1) / 16) + 1, 16 * round((width - 1) / 16) + 1


def prepare(frame: np.ndarray) -> Tensor:
    """uint8 [H, W, 3] -> [1, 3, H', W']."""
    image = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
    size = input_size(*frame.shape[:2])
    if image.shape[-2:] != size:
        image = F.interpolate(image, size=size, mode="bicubic", align_corners=False)
    return (image / 255 - MEAN) / STD


class PlainEngine:
    """Ten objects, of whose numbers `first` comes before all."""

    def __init__(self, model: AOT, gap: int, skip: int, first: int):
        self.model, self.gap, self.skip, self.first = model, gap, skip, first
        self.long, self.short = [], []  # of frames: of layers: key, value
        self.now = self.last = 0

    def own(self, labels: Tensor) -> Tensor:
        inside = (labels > self.first) & (labels <= self.first + IDENTITIES)
        return torch.where(inside, labels - self.first, 0)

    def refer(self, features, identity: Tensor) -> None:
        memory = self.model.remembered(self.model.refer(features, identity), identity)
        self.long.append(memory)
        self.short, self.last = [memory], self.now

    def predict(self, features, objects: int, shape: tuple[int, int]) -> Tensor:
        """Probabilities [11, H, W], and what the layers left, kept for `remember`."""
        self.now += 1
        layers = []
        short = self.short[-min(self.skip, len(self.short))]
        for i in range(len(short)):
            keys, values = zip(*(frame[i] for frame in self.long), strict=True)
            layers.append(LayerMemory(torch.cat(keys), torch.cat(values), *short[i]))
        logits, self.traces = self.model.propagate(features, layers)
        logits[:, objects + 1 :] = -1e10
        return F.interpolate(logits, size=shape, mode="bilinear", align_corners=True)[0].softmax(0)

    def remember(self, identity: Tensor) -> None:
        memory = self.model.remembered(self.traces, identity)
        self.short.append(memory)
        if self.now - self.last >= self.gap:
            self.long.append(memory)
            self.last = self.now


class PlainAOT:
    """prob = step(frame, mask): the probabilities before the mask is merged, None on the first frame."""

    def __init__(self, model: AOT, gap: int, skip: int):
        self.model, self.gap, self.skip = model, gap, skip
        self.engines: list[PlainEngine] = []
        self.objects = 0

    @torch.inference_mode()
    def step(
        self, frame: np.ndarray, mask: np.ndarray | None, check: Callable[[np.ndarray], np.ndarray] = lambda x: x
    ) -> Tensor | None:
        """check: gets the labels that are remembered, and gives those that shall be."""
        shape = frame.shape[:2]
        features = self.model.encode(prepare(frame))
        prob = None
        labels = np.zeros(shape, np.int64)
        if self.engines:
            last = self.objects - (len(self.engines) - 1) * IDENTITIES
            counts = [IDENTITIES] * (len(self.engines) - 1) + [last]
            prob = merge([e.predict(features, n, shape) for e, n in zip(self.engines, counts, strict=True)])
            prob = prob[: self.objects + 1]
            labels = prob.argmax(0).numpy()
        if mask is not None:
            labels = np.where(mask > 0, mask, labels)
        labels = torch.from_numpy(check(labels).astype(np.int64))
        if mask is not None:
            self.objects = max(self.objects, int(labels.max()))
            while len(self.engines) * IDENTITIES < self.objects:
                first = len(self.engines) * IDENTITIES
                self.engines.append(PlainEngine(self.model, self.gap, self.skip, first))
        small = F.interpolate(labels[None, None].float(), size=input_size(*shape), mode="nearest")[0, 0].long()
        for engine in self.engines:
            identity = self.model.identity(engine.own(small))
            if mask is not None:
                engine.refer(features, identity)
            else:
                engine.remember(identity)
        return prob

    @property
    def long_term_elements(self) -> list[int]:
        return [sum(len(frame[0][0]) for frame in engine.long) for engine in self.engines]


def merge(probs: list[Tensor]) -> Tensor:
    """Engines' [11, H, W] -> [1 + 10 n, H, W]."""
    if len(probs) == 1:
        return probs[0]
    background = torch.stack([prob[0] for prob in probs]).prod(0, keepdim=True)
    prob = torch.cat([background, *(prob[1:] for prob in probs)]).clamp(1e-5, 1 - 1e-5)
    return torch.log(prob / (1 - prob)).softmax(0)
