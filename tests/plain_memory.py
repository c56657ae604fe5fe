"""The specification's memory written out one element at a time: slow, plain, and what the real one is held against."""

import math
from dataclasses import dataclass, field

import torch

from xmem.config import MemoryConfig


@dataclass
class Element:
    key: torch.Tensor
    shrinkage: torch.Tensor
    selection: torch.Tensor | None
    values: dict[int, torch.Tensor]  # object -> value; objects that arrived later are absent
    use: float = 0.0
    life: float = 1e-7


def plain_similarity(element: Element, key: torch.Tensor, selection: torch.Tensor) -> torch.Tensor:
    return -element.shrinkage * (selection * (element.key - key) ** 2).sum() / math.sqrt(len(element.key))


@dataclass
class PlainMemory:
    """The specification's sections 3 and 5 written out one element at a time."""

    config: MemoryConfig
    groups: list[list[int]] = field(default_factory=list)
    frames: list[list[Element]] = field(default_factory=list)
    long_term: list[Element] = field(default_factory=list)
    permanent: list[Element] = field(default_factory=list)
    value_channels: int = 0

    def read(self, key, selection):
        elements = self.permanent + self.long_term + [e for frame in self.frames for e in frame]
        out = torch.zeros(sum(map(len, self.groups)), self.value_channels, key.shape[1])
        for g, group in enumerate(self.groups):
            own = [e for e in elements if group[0] in e.values]
            for j in range(key.shape[1]):
                scores = torch.stack([plain_similarity(e, key[:, j], selection[:, j]) for e in own])
                best = scores.topk(min(self.config.top_k, len(own)))
                for weight, i in zip(best.values.softmax(0), best.indices, strict=True):
                    for o in group:
                        out[o, :, j] += weight * own[i].values[o]
                    if g == 0:
                        own[i].use += float(weight)
        for e in elements:
            e.life += 1
        return out

    def append(self, key, shrinkage, selection, values, permanent=False):
        known, self.value_channels = sum(map(len, self.groups)), values.shape[1]
        if len(values) > known:
            self.groups.append(list(range(known, len(values))))
        elements = [
            Element(key[:, j], shrinkage[0, j], selection[:, j], {o: v[:, j] for o, v in enumerate(values)})
            for j in range(key.shape[1])
        ]
        if permanent:
            self.permanent += elements
            return
        self.frames.append(elements)
        if self.config.long_term and len(self.frames) >= self.config.max_working_frames:
            self.consolidate()

    def consolidate(self):
        c = self.config
        latest = len(self.frames) - (c.min_working_frames - 1)
        candidates = [e for frame in self.frames[1:latest] for e in frame]
        ranked = sorted(candidates, key=lambda e: -e.use / e.life)[: c.prototypes]
        chosen = [e for e in candidates if any(e is r for r in ranked)]
        new = []
        for p in chosen:
            values, shrinkage = {}, None
            for g, group in enumerate(self.groups):
                own = [e for e in candidates if group[0] in e.values]
                if group[0] in p.values:
                    weights = torch.stack([plain_similarity(e, p.key, p.selection) for e in own]).softmax(0)
                    for o in group:
                        values[o] = sum(w * e.values[o] for w, e in zip(weights, own, strict=True))
                    if g == 0:
                        shrinkage = sum(w * e.shrinkage for w, e in zip(weights, own, strict=True))
            new.append(Element(p.key, shrinkage, None, values))
        if len(self.long_term) + len(new) > c.max_long_term:
            kept = sorted(self.long_term, key=lambda e: -e.use / e.life)[: c.max_long_term - c.prototypes]
            self.long_term = [e for e in self.long_term if any(e is k for k in kept)]
        self.long_term += new
        self.frames = [self.frames[0], *self.frames[latest:]]
