"""Training of the click network: a step is some images, objects in them, and a person's simulated clicks."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xmem.click.simulate import NO_CLICK, next_click, rough_box, spoilt
from xmem.errors import InputError
from xmem.networks.click import ClickNet, Given
from xmem.scoring.evaluation import LabelledSequence, find_sequences
from xmem.scoring.metrics import region_similarity
from xmem.training.footage import Stills, VideoSequence, read_frames
from xmem.training.forward import fold_frozen_norms, to_network
from xmem.training.initial import encoder_state
from xmem.training.loop import Batch, Trainer, parameter_groups
from xmem.training.recipe import Recipe

log = logging.getLogger("xmem")

TARGETS = 2  # objects of an image
MOST_CLICKS = 5
BOX_SHARE, SPOILT_SHARE = 0.1, 0.2  # of objects that begin with a box, or with an earlier mask
FOCUS = 2.0  # exponent of the focal loss
SEVERAL = 4.0  # times as often as a still with one object comes one with several
ALIKE, THUMBNAIL = 0.96, np.zeros(256, np.float32)
HELD_BACK_SETS, HELD_BACK_EACH = ("ecssd", "pascal_s_part"), 10  # every tenth image, by name


def is_held_back(folder: Path, stem: str) -> bool:
    """Whether a still is one that the click network is judged by: every tenth of two sets, by name."""
    names = sorted(path.stem for path in (folder / "masks" / "all").glob("*.png"))
    return folder.name in HELD_BACK_SETS and names.index(stem) % HELD_BACK_EACH == 0


class ClickStills(Stills):
    """Stills to train on: without those that are held back, and without images of other sets that look like one."""

    NAME = "click-stills"
    _weights: np.ndarray | None = None  # of the stills, for `pick`

    @classmethod
    def build(cls, roots: Sequence[Path], cache: Path, short_side: int = 384) -> Self:
        """As `Stills.build`."""
        return cls._store(roots, cache, short_side, _pictures(list(map(Path, roots)), short_side))

    def pick(self, rng: np.random.Generator) -> VideoSequence:
        """A random still; those with several objects come more often, as a click must tell which of them is meant."""
        if self._weights is None:
            several = np.array([self.picture(index)[..., 3].max() > 1 for index in range(len(self))])
            weights = np.where(several, SEVERAL, 1.0)
            self._weights = weights / weights.sum()
        return self[int(rng.choice(len(self), p=self._weights))]


def _pictures(roots: Sequence[Path], short_side: int) -> Iterator[np.ndarray]:
    judges = np.stack([thumbnail(image) for root in roots for image, _ in held_back(root, short_side)] or [THUMBNAIL])
    for root in roots:
        left_out = 0
        for frame, mask in _stills(root, short_side, held=False):
            alike = (judges @ thumbnail(frame)).max()
            left_out += alike > ALIKE
            if mask.any() and alike <= ALIKE:
                yield np.concatenate([frame, mask[..., None]], axis=2)
        log.info("%s: %d stills left out that look like held-back ones", root.name, left_out)


def thumbnail(image: np.ndarray) -> np.ndarray:
    """A picture as 16 x 16 grey values, of mean 0 and length 1: the product of two is how alike they are."""
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (16, 16), interpolation=cv2.INTER_AREA).astype(
        np.float32
    )
    grey -= grey.mean()
    return grey.ravel() / max(1e-6, float(np.linalg.norm(grey)))


def held_back(root: Path, short_side: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images uint8 [H, W, 3] and index masks uint8 [H, W] of a set of stills that are never trained on."""
    return _stills(Path(root), short_side, held=True)


def _stills(root: Path, short_side: int | None, held: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for sequence in find_sequences(root):
        masks = {stem: path for stem, path in sequence.masks.items() if is_held_back(root, stem) == held}
        yield from read_frames(LabelledSequence(sequence.name, sequence.images, masks), short_side)


class Round:
    """Objects with what is given of them so far; grows by a click of each object at a time."""

    def __init__(self, truths: np.ndarray, labels: np.ndarray, rng: np.random.Generator | None, size: tuple[int, int]):
        """truths: bool [N, h, w]; labels: uint8 [N, h, w], all objects of each one's image; both at half of size.

        rng: None for clicks at the deepest places, and neither box nor earlier mask, as where this judges.
        """
        self.truths, self.rng, self.size = truths, rng, size
        count = len(truths)
        self.clicks = np.full((count, MOST_CLICKS, 3), NO_CLICK, np.float32)
        self.boxes = np.full((count, 4), -1, np.float32)
        self.previous = np.zeros((count, 1, *truths.shape[1:]), np.float32)
        self.has_previous = np.zeros(count, np.float32)
        for n, truth in enumerate(truths):
            if rng is None or not truth.any() or self.begin(n, (labels[n] > 0) & ~truth, rng):
                self.click(n)

    def begin(self, n: int, others: np.ndarray, rng: np.random.Generator) -> bool:
        """Perhaps give object n a box or an earlier mask; whether a click comes as well."""
        draw = rng.random()
        if draw < BOX_SHARE:
            self.boxes[n] = rough_box(self.truths[n], rng) * 2
            return rng.random() >= 0.5
        if draw < BOX_SHARE + SPOILT_SHARE:
            self.previous[n, 0] = spoilt(self.truths[n], others, rng)
            self.has_previous[n] = 1
        return True

    def click(self, n: int) -> None:
        """The next click on object n, where its mask errs and there is room for one."""
        free = np.flatnonzero(self.clicks[n, :, 2] == NO_CLICK)
        found = next_click(self.truths[n], self.previous[n, 0] > 0.5, self.rng) if len(free) else None
        if found is not None:
            x, y, kind = found
            self.clicks[n, free[0]] = 2 * x + 0.5, 2 * y + 0.5, kind

    def answer(self, logits: Tensor) -> None:
        """Take logits [N, 1, h, w] as the masks so far, and click where they err."""
        self.previous = torch.sigmoid(logits.detach().float()).cpu().numpy()
        self.has_previous[:] = 1
        for n in range(len(self.truths)):
            self.click(n)

    def given(self, device: torch.device) -> Given:
        parts = (self.clicks, self.boxes, self.previous, self.has_previous)
        return Given(*(torch.from_numpy(part.copy()).to(device) for part in parts))


def click_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Normalised focal loss (Sofiiuk et al., 2019) and dice; logits and truth (0..1) [N, 1, h, w]."""
    logits = logits.float()
    error = (torch.sigmoid(logits) - truth).abs()
    focus = error.detach() ** FOCUS
    each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * focus
    focal = (each.sum((1, 2, 3)) / focus.sum((1, 2, 3)).clamp(min=1)).mean()
    probability = torch.sigmoid(logits)
    overlap = 2 * (probability * truth).sum((1, 2, 3)) + 1
    dice = 1 - overlap / (probability.sum((1, 2, 3)) + truth.sum((1, 2, 3)) + 1)
    return focal + dice.mean()


class ClickTrainer(Trainer):
    """The trainer with clicks in the place of clips; `model` is a ClickNet."""

    @property
    def net(self) -> ClickNet:
        assert isinstance(self.model, ClickNet)
        return self.model

    def prepare(self) -> None:
        prepare(self.net, self.recipe)

    def parameter_groups(self) -> list[dict]:
        return parameter_groups(self.model, self.recipe, ("stem.", "blocks."))

    def _gradients(self, batch: Batch, share: float) -> tuple[float, tuple[Tensor | None, ...]]:
        frames, labels = batch.frames[:, 0], batch.labels[:, 0]
        rng = np.random.default_rng([self.settings.seed, self.step, int(labels.astype(np.int64).sum())])
        index, truths, all_labels = targets(labels, rng)
        truth = torch.from_numpy(truths[:, None].astype(np.float32)).to(self.device)
        half = F.avg_pool2d(truth, 2)
        quarter = F.avg_pool2d(half, 2)
        rounds = Round((half[:, 0] > 0.5).cpu().numpy(), all_labels[:, ::2, ::2], rng, labels.shape[1:])
        images = to_network(frames[:, None], self.device)[:, 0].contiguous(memory_format=torch.channels_last)
        model = self.net
        losses: list[Tensor] = []

        def decode() -> Tensor:
            logits, rough = model.decode(seen, rounds.given(self.device))
            losses.append(click_loss(logits, half) + 0.4 * click_loss(rough, quarter))
            return logits

        with self._autocast():
            seen = model.see(images).repeated(torch.from_numpy(index).to(self.device))
            logits = decode()
            for _ in range(int(rng.integers(0, 3))):  # clicks that only lead to the last one's place
                rounds.answer(logits)
                with torch.no_grad():
                    logits, _ = model.decode(seen, rounds.given(self.device))
            rounds.answer(logits)
            decode()
            loss = torch.stack(losses).mean()
        gradients = torch.autograd.grad(self.scaler.scale(loss), list(self.trained.values()), allow_unused=True)
        return loss.item(), gradients

    def description(self, scores: dict | None = None) -> dict[str, str]:
        return super().description(scores) | {"architecture": "xmem-click"}


def targets(labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """TARGETS objects of each of labels uint8 [B, H, W]: places of their images [N], masks bool [N, H, W], and labels
    uint8 [N, H, W]."""
    index, truths = [], []
    for place, label in enumerate(labels):
        sizes = np.bincount(label.ravel(), minlength=2)[1:]
        values = np.flatnonzero(sizes > 0.0005 * label.size) + 1
        values = values if len(values) else np.array([1])
        for value in rng.choice(values, TARGETS, replace=len(values) < TARGETS):
            index.append(place)
            truths.append(label == value)
    return np.array(index), np.stack(truths), labels[index]


def prepare(model: ClickNet, recipe: Recipe) -> None:
    """Fix the encoder's norms, and all of its first blocks; the decoder's norms learn."""
    model.train()
    for part in (model.stem, model.blocks):
        part.eval()
        fold_frozen_norms(part)
    for part in (model.stem, *model.blocks[: recipe.frozen_blocks]):
        part.requires_grad_(False)


def load_imagenet(model: ClickNet, source: dict[str, Tensor]) -> None:
    """Start the encoder from a state dict of EfficientNet-lite0. Raises InputError where it is not one."""
    names = [name for name in model.state_dict() if name.startswith(("stem.", "blocks."))]
    try:
        state = encoder_state(source, names)
    except KeyError as error:
        raise InputError(f"No EfficientNet-lite0 weights ({error} is missing): choose another --init.") from error
    model.load_state_dict(state, strict=False)


def judge(state: Mapping[str, Tensor], roots: Sequence[Path], most: int = 50, side: int = 320) -> dict[str, float]:
    """Median IoU in percent after 1 and 3 clicks on held-back objects of each set, at `side` pixels, and their mean.

    most: objects of a set, evenly taken from all.
    """
    model = ClickNet()
    model.load_state_dict(dict(state))
    model.eval()
    scores: dict[str, float] = {}
    for root in roots:
        pairs = [
            (image, label == value) for image, label in held_back(root, side) for value in np.unique(label) if value
        ]
        pairs = [pair for pair in pairs if pair[1].mean() > 0.005]
        ious = np.array([clicked(model, *pair) for pair in pairs[:: max(1, len(pairs) // most)]])
        scores |= {f"{root.name}@{n}": round(100 * float(np.median(ious[:, n - 1])), 2) for n in (1, 3)}
    return {"mean": round(float(np.mean(list(scores.values()))), 2)} | scores


@torch.inference_mode()
def clicked(model: ClickNet, image: np.ndarray, truth: np.ndarray, clicks: int = 3) -> list[float]:
    """IoU after each of some clicks on one object, as the network sees it: no closer look, half the resolution."""
    height, width = (side // 32 * 32 for side in image.shape[:2])
    image, truth = image[:height, :width], truth[:height, :width]
    half = truth[::2, ::2]
    rounds = Round(half[None], half[None].astype(np.uint8), None, (height, width))
    seen, ious = model.see(to_network(image[None, None], torch.device("cpu"))[:, 0]), []
    for _ in range(clicks):
        logits, _ = model.decode(seen, rounds.given(torch.device("cpu")))
        mask = logits[0, 0].numpy() > 0
        ious.append(region_similarity(mask, half))
        rounds.answer(logits)
    return ious
