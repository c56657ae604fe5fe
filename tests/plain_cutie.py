"""Cutie's stepping and memories written out plainly: lists of frames, dense similarities, one bucket after the other.
Slow, and what the engine is held against; the networks are the engine's own, held against reference tensors."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


@dataclass
class PlainFrame:
    """Elements of one memory frame in columns, or prototypes."""

    key: torch.Tensor  # [C_k, N]
    shrinkage: torch.Tensor  # [1, N]
    selection: torch.Tensor  # [C_k, N]
    values: torch.Tensor  # [O_b, C, N]
    use: torch.Tensor = None
    life: torch.Tensor = None

    def __post_init__(self):
        count = self.key.shape[1]
        self.use, self.life = torch.zeros(count), torch.full((count,), 1e-7)


def similarity(key, shrinkage, query, selection):
    """[C_k, N], [1, N], [C_k, Q], [C_k, Q] -> [N, Q]."""
    squares = (selection[:, None] * (key[:, :, None] - query[:, None]) ** 2).sum(0)
    return -shrinkage[0][:, None] * squares / math.sqrt(len(key))


@dataclass
class PlainBucket:
    objects: list
    config: dict
    frames: list = field(default_factory=list)  # the first one is permanent
    long_term: PlainFrame = None

    def parts(self):
        return self.frames[:1] + ([self.long_term] if self.long_term else []) + self.frames[1:]

    def read(self, query, selection):
        parts = self.parts()
        scores = torch.cat([similarity(p.key, p.shrinkage, query, selection) for p in parts])
        best = scores.topk(min(self.config["top_k"], len(scores)), dim=0)
        weights = torch.zeros_like(scores).scatter_(0, best.indices, best.values.softmax(0))
        start = 0
        for part in parts:
            part.use += weights[start : start + len(part.use)].sum(1)
            part.life += 1
            start += len(part.use)
        return torch.cat([p.values for p in parts], 2) @ weights

    def append(self, frame):
        c = self.config
        self.frames.append(frame)
        if not c["use_long_term"]:
            kept = c["max_mem_frames"] - 1
            self.frames = self.frames[:1] + self.frames[1:][-kept:] if kept else self.frames[:1]
        elif len(self.frames) - 1 >= c["long_term"]["max_mem_frames"] - 1:
            self.consolidate(**c["long_term"])

    def consolidate(self, min_mem_frames, num_prototypes, max_num_tokens, buffer_tokens, **_):
        others = self.frames[1:]
        split = len(others) - (min_mem_frames - 1)
        old = others[:split]
        key, selection, use, life = (
            torch.cat([getattr(f, n) for f in old], -1) for n in ("key", "selection", "use", "life")
        )
        shrinkage, values = torch.cat([f.shrinkage for f in old], 1), torch.cat([f.values for f in old], 2)
        room = max_num_tokens - num_prototypes
        lasting = self.long_term
        if lasting and len(lasting.use) >= room:
            best = (lasting.use / lasting.life).topk(room - buffer_tokens).indices.sort().values
            kept = PlainFrame(lasting.key[:, best], lasting.shrinkage[:, best], None, lasting.values[:, :, best])
            kept.use, kept.life = lasting.use[best], lasting.life[best]
            lasting = kept
        best = (use / life).topk(min(num_prototypes, len(use))).indices.sort().values
        weights = similarity(key, shrinkage, key[:, best], selection[:, best]).softmax(0)
        new = PlainFrame(key[:, best], shrinkage @ weights, None, values @ weights)
        if lasting:
            joined = PlainFrame(
                torch.cat([lasting.key, new.key], 1),
                torch.cat([lasting.shrinkage, new.shrinkage], 1),
                None,
                torch.cat([lasting.values, new.values], 2),
            )
            joined.use, joined.life = torch.cat([lasting.use, new.use]), torch.cat([lasting.life, new.life])
            new = joined
        self.long_term = new
        self.frames = self.frames[:1] + others[split:]


def aggregate(prob):
    """[O, H, W] -> log-odds [O + 1, H, W]."""
    prob = torch.cat([(1 - prob).prod(0, keepdim=True), prob]).clamp(1e-7, 1 - 1e-7)
    return torch.log(prob / (1 - prob))


def stagger(config):
    """Frames since the last memory frame on which the decoder updates the sensory memory."""
    every, count = config["mem_every"], config["stagger_updates"]
    if count >= every:
        return set(range(1, every + 1))
    return set(np.round(np.linspace(1, every, count)).astype(int).tolist())


class PlainCutie:
    """One video; config: the released names."""

    def __init__(self, model, config):
        self.model, self.config = model, config
        self.objects, self.buckets = [], []
        self.sensory = self.summaries = self.last_mask = None
        self.now, self.last = -1, 0

    def step(self, frame, mask=None, end=False):
        """uint8 [H, W, 3], index mask -> probabilities [O + 1, H, W], objects in order of arrival."""
        self.now += 1
        height, width = frame.shape[:2]
        down, right = -height % 16, -width % 16
        padding = (right // 2, right - right // 2, down // 2, down - down // 2)
        image = F.pad(torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255, padding)
        image = (image - MEAN[:, None, None]) / STD[:, None, None]
        key, shrinkage, selection, features = self.model.encode_image(image)
        grid = key.shape[-2:]
        given = [] if mask is None else [int(i) for i in np.unique(mask) if i]
        new = [i for i in given if i not in self.objects]
        passed = self.now - self.last
        is_memory = not end and (passed >= self.config["mem_every"] or mask is not None)
        prob, sensory = None, self.sensory
        if self.objects and (not given or new or any(i not in given for i in self.objects)):
            prob, sensory = self.decode(key, selection, features, passed in stagger(self.config) and not end)
        if given:
            masks = [F.pad(torch.from_numpy(mask == i).float(), padding) for i in given]
            claimed = sum(masks) > 0
            objects = {}
            for channel, i in enumerate(self.objects, start=1):
                objects[i] = None if prob is None else prob[channel].masked_fill(claimed, 0)
            objects.update(zip(given, masks, strict=True))
            prob = aggregate(torch.stack(list(objects.values()))).softmax(0)
            if new:
                zeros = torch.zeros(1, len(new), self.model.sizes.channels, *grid)
                sensory = zeros if sensory is None else torch.cat([sensory, zeros], 1)
                self.objects += new
                self.buckets.append(PlainBucket(new, self.config))
        self.last_mask = F.avg_pool2d(prob[None, 1:], 16)
        if is_memory:
            values, sensory, summaries = self.model.encode_masks(image, features, prob[None, 1:], sensory)
            if self.summaries is not None:
                summaries[:, : self.summaries.shape[1]] += self.summaries
            self.summaries = summaries
            flat = [x[0].flatten(1) for x in (key, shrinkage, selection)]
            for bucket in self.buckets:
                own = [self.objects.index(i) for i in bucket.objects]
                bucket.append(PlainFrame(*flat, values[0, own].flatten(2)))
            self.last = self.now
        self.sensory = sensory
        return prob[:, padding[2] : padding[2] + height, padding[0] : padding[0] + width]

    def decode(self, key, selection, features, update):
        shared = self.model.pixel_fuser.fuser.image_part(features.pix)
        parts = []
        for bucket in self.buckets:
            own = [self.objects.index(i) for i in bucket.objects]
            readout = bucket.read(key[0].flatten(1), selection[0].flatten(1)).unflatten(2, key.shape[-2:])[None]
            state = self.sensory[:, own], self.last_mask[:, own], self.summaries[:, own]
            parts.append(self.model.transform(shared, readout, *state))
        logits, sensory = self.model.decode(features, torch.cat(parts, 1), self.sensory, update)
        odds = aggregate(torch.sigmoid(logits[0]))
        return F.interpolate(odds[None], scale_factor=4, mode="bilinear", align_corners=False)[0].softmax(0), sensory
