"""Between frames as they come and tensors as networks take them: upload, normalise, resize, pad, and back."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xmem.engine.transfers import upload
from xmem.families import Given, Grid
from xmem.limits import inference_size
from xmem.networks import Network, padding_to_stride

IMAGE_MEAN = (0.485, 0.456, 0.406)  # ImageNet, RGB in [0, 1]
IMAGE_STD = (0.229, 0.224, 0.225)
IMAGE_SCALE = tuple(1 / (255 * std) for std in IMAGE_STD)  # of values from 0 to 255
IMAGE_SHIFT = tuple(-mean / std for mean, std in zip(IMAGE_MEAN, IMAGE_STD, strict=True))


class Preparing:
    """Frames of one size, on their way to a network's grid and back.

    size: the shorter side, in pixels, at which the network runs (bilinear, antialiased); None = the frame's own. `size`
    (h, w) is what comes back; where a grid has a longest side and no size is asked for, the network may see less.
    Raises InputError for what is too large.
    """

    def __init__(self, model: Network, grid: Grid, size: int | None, frame_shape: tuple[int, int]):
        self.grid = grid
        height, width = frame_shape
        seen = inference_size(width, height, size, grid.longest)
        self.size = (height, width) if size is None else seen
        if grid.plus_one:
            self._resized = tuple(round((side - 1) / grid.multiple) * grid.multiple + 1 for side in seen)
            self._padding = (0, 0, 0, 0)
        else:
            self._resized, self._padding = self.size, padding_to_stride(*self.size, grid.multiple)
        self._constants: tuple[Tensor, Tensor] | None = None  # of the normalisation
        self._device, self._dtype = model.device, model.dtype  # which a network looks for among its weights

    def image(self, frame: np.ndarray) -> Tensor:
        """uint8 [H, W, 3] -> normalised, resized, padded [1, 3, H', W'], all of it on the network's device."""
        height, width = frame.shape[:2]
        rows = upload(frame, self._device).view(height, 3 * width).float()
        scale, shift = self._scale_and_shift(width, rows.device)
        left, right, top, bottom = self._padding
        full = self._resized[0] + top + bottom, self._resized[1] + left + right
        padded = shift[:3].expand(*full, 3).clone() if self.grid.pad_before_normalising else rows.new_zeros(*full, 3)
        inner = padded.view(full[0], 3 * full[1])[top : full[0] - bottom, 3 * left : 3 * (full[1] - right)]
        # (x / 255 - mean) / std as one pass: x scale + shift along whole rows, a colour after the other
        if (height, width) == self._resized:
            torch.addcmul(shift, rows, scale, out=inner)
        else:
            image = torch.addcmul(shift, rows, scale).view(1, height, width, 3).permute(0, 3, 1, 2)
            inner.copy_(self._resize(image)[0].permute(1, 2, 0).reshape(inner.shape))
        return padded[None].permute(0, 3, 1, 2).to(self._dtype).contiguous(memory_format=torch.channels_last)

    def given(self, mask: np.ndarray, ids: list[int]) -> Given:
        """An index mask [H, W], and masks of the ids that it speaks for, soft ones the way that the image goes."""
        index = upload(mask if mask.dtype == np.uint8 else mask.astype(np.int32), self._device)
        masks = torch.stack([index == i for i in ids])[None].float()
        if self.grid.hard_masks:
            masks = F.interpolate(masks, size=self._resized, mode="nearest-exact")
        else:
            masks = self._resize(masks)
        return Given(ids, mask, F.pad(masks, self._padding))

    def crop(self, prob: Tensor) -> Tensor:
        """Padding taken off: [..., H', W'] -> [..., h, w]; what a network upsampled itself has none."""
        height, width = self.size
        left, _, top, _ = self._padding
        return prob[..., top : top + height, left : left + width]

    def _scale_and_shift(self, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
        if self._constants is None:  # made once: making them waits for the device
            scale, shift = (torch.tensor(c, device=device).repeat(width) for c in (IMAGE_SCALE, IMAGE_SHIFT))
            self._constants = scale, shift
        return self._constants

    def _resize(self, x: Tensor) -> Tensor:
        """[1, C, H, W] -> the inference size, or the grid's next size."""
        size = self._resized
        if x.shape[-2:] == size:
            return x
        if self.grid.plus_one:
            return F.interpolate(x, size=size, mode="bicubic", align_corners=False)
        # enlarged, nothing can alias: the same numbers in less than half the time
        is_smaller = size[0] < x.shape[-2] or size[1] < x.shape[-1]
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=is_smaller)


def resize_to_frame(prob: Tensor, shape: tuple[int, int]) -> Tensor:
    """Probabilities [O + 1, h, w] at inference size -> [O + 1, H, W], bilinear; shape: (H, W) of the frame."""
    if prob.shape[-2:] == tuple(shape):
        return prob
    return F.interpolate(prob[None], size=tuple(shape), mode="bilinear", align_corners=False)[0]
