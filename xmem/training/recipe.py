"""How each network is trained: batches over the course of a run, and rates."""

import math
from dataclasses import dataclass, replace

import numpy as np

from xmem.networks.xmem import ModelSizes, lite_sizes, xmem_sizes
from xmem.training.clips import BatchShape
from xmem.training.trouble import NO_TROUBLE, Trouble


@dataclass(frozen=True)
class Stage:
    """A part of the run: up to progress `until` (0..1), clips of `frames` frames of one of `sizes` (height, width)."""

    until: float
    frames: int
    sizes: tuple[tuple[int, int], ...]
    max_gap: int


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run besides its data, seed and length.

    encoder_rate, rate: peak learning rates of the pre-trained encoders and of the rest.
    decay: "cosine" towards 2 % of the peak, or "step" to a tenth at 80 % of the run.
    micro_batches: batches, each of its own shape, whose gradients make one step.
    batch_pixels: pixels of one frame, summed over a micro-batch; clips of larger frames come in smaller batches.
    objects: probability of 1, 2, ... objects in a batch.
    real_share, still_share, trouble, thin_share: what clips are made of (see `ClipSource`).
    frozen_blocks: blocks of the lite key encoder, stem included, that keep their ImageNet weights.
    reading_weight: of the loss that sets an object's keys apart from those of look-alikes (see `reading_loss`).
    hard_share: share of pixels in the loss after the warm-up, which falls linearly from 1 between `warm_up`'s two ends.
    """

    sizes: ModelSizes
    stages: tuple[Stage, ...]
    micro_batches: int
    batch_pixels: int
    encoder_rate: float
    rate: float
    decay: str = "cosine"
    weight_decay: float = 0.05
    objects: tuple[float, ...] = (0.4, 0.45, 0.15)
    real_share: float = 0.65
    still_share: float = 0.0
    trouble: Trouble = NO_TROUBLE
    thin_share: float = 0.0
    frozen_blocks: int = 0
    reading_weight: float = 0.0
    hard_share: float = 0.15
    warm_up: tuple[float, float] = (0.1, 0.5)
    ema_decay: float = 0.998
    clip_norm: float = 3.0

    def stage(self, progress: float) -> Stage:
        """The stage at `progress` (0..1)."""
        return next((stage for stage in self.stages if progress < stage.until), self.stages[-1])

    def shape(self, rng: np.random.Generator, progress: float) -> BatchShape:
        """Shape of the next batch."""
        stage = self.stage(progress)
        height, width = stage.sizes[int(rng.integers(len(stage.sizes)))]
        objects = int(rng.choice(len(self.objects), p=self.objects)) + 1
        cost = height * width * (1 + 0.15 * (objects - 1))
        return BatchShape(height, width, stage.frames, max(1, round(self.batch_pixels / cost)), objects)

    def rate_factor(self, progress: float) -> float:
        """Learning rate relative to its peak: a linear start over 2 % of the run, then the decay."""
        start = min(1.0, 0.02 + progress / 0.02)
        if self.decay == "step":
            return start * (0.1 if progress >= 0.8 else 1.0)
        return start * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))

    def loss_share(self, progress: float) -> float:
        """Share of the hardest pixels in the cross-entropy."""
        begin, end = self.warm_up
        done = float(np.clip((progress - begin) / (end - begin), 0, 1))
        return 1 - done * (1 - self.hard_share)


LITE = Recipe(
    sizes=lite_sizes(),
    stages=(
        Stage(0.5, 4, ((192, 192), (192, 192), (160, 288), (256, 256)), 4),
        Stage(0.85, 5, ((192, 192), (256, 256), (240, 432), (320, 320)), 7),
        Stage(1.0, 6, ((256, 256), (288, 512), (320, 320), (384, 384)), 8),
    ),
    micro_batches=2,
    batch_pixels=2 * 192 * 192,
    encoder_rate=1e-4,
    rate=4e-4,
    frozen_blocks=2,
)

REFINED_LITE = replace(  # a second run from the weights of the first: larger crops, longer clips, half the rates
    LITE,
    stages=(
        Stage(0.55, 5, ((256, 256), (240, 432), (288, 288), (320, 320)), 8),
        Stage(0.85, 6, ((320, 320), (288, 512), (384, 384)), 8),
        Stage(1.0, 8, ((288, 288), (288, 512), (384, 384)), 8),
    ),
    encoder_rate=5e-5,
    rate=2e-4,
    warm_up=(-1.0, 0.0),
)

TUNED_LITE = replace(  # a further run from shipped weights: with stills and harder clips, at lower rates
    REFINED_LITE,
    stages=(
        Stage(0.35, 5, ((256, 256), (240, 432), (320, 320)), 8),
        Stage(0.75, 6, ((240, 432), (288, 512), (320, 320), (384, 384)), 8),
        Stage(1.0, 8, ((240, 432), (288, 512), (384, 384), (384, 384)), 8),
    ),
    encoder_rate=3e-5,
    rate=1e-4,
    objects=(0.4, 0.4, 0.2),
    real_share=0.6,
    still_share=0.25,
    trouble=Trouble(
        neighbour=0.25,
        crossing=0.2,
        near=0.12,
        twin=0.25,
        screen=0.15,
        veil=0.12,
        light=0.25,
        pan=0.1,
        shake=0.12,
        dim=0.12,
        camouflage=0.3,
    ),
    thin_share=0.12,
    reading_weight=0.3,
)

FULL = Recipe(  # the paper's main stage: 8 frames of 384 x 384, batch 8, 1e-5, on videos
    sizes=xmem_sizes(),
    stages=(Stage(1.0, 8, ((384, 384),), 8),),
    micro_batches=1,
    batch_pixels=8 * 384 * 384,
    encoder_rate=1e-5,
    rate=1e-5,
    decay="step",
)

CLICKS = Recipe(  # single images; sizes are those of xmem-lite's encoder
    sizes=lite_sizes(),
    stages=(
        Stage(0.8, 1, ((192, 192), (160, 224), (192, 224), (224, 160)), 1),
        Stage(1.0, 1, ((256, 256), (224, 256)), 1),
    ),
    micro_batches=2,
    batch_pixels=4 * 192 * 192,
    encoder_rate=2e-4,
    rate=8e-4,
    weight_decay=0.02,
    objects=(0.65, 0.25, 0.1),
    real_share=0.2,
    still_share=0.65,
    frozen_blocks=5,
    ema_decay=0.996,
    clip_norm=2.0,
)
TUNED_CLICKS = replace(  # a later run: nearer to the size at which an image is clicked on, more objects that stay apart
    CLICKS,
    stages=(
        Stage(0.5, 1, ((192, 256), (256, 256), (256, 192), (256, 320)), 1),
        Stage(1.0, 1, ((256, 320), (320, 256), (320, 320), (288, 384)), 1),
    ),
    batch_pixels=4 * 256 * 256,
    objects=(0.5, 0.3, 0.2),
    weight_decay=0.05,
)

RECIPES = {"xmem-lite": LITE, "XMem": FULL, "xmem-click": CLICKS}
REFINED = {"xmem-lite": REFINED_LITE}
TUNED = {"xmem-lite": TUNED_LITE, "xmem-click": TUNED_CLICKS}
