"""Clicks on an image -> the mask of what they mean."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from xmem.checkpoints import read_state
from xmem.checkpoints.catalogue import CLICK, CLICKERS, HELPERS, SAM2
from xmem.checkpoints.load import locate, ready
from xmem.click.held import Held
from xmem.click.looks import HeldByLooks
from xmem.click.sam import sam2
from xmem.device import choose_precision, select_device
from xmem.errors import InputError
from xmem.networks.click import ClickNet
from xmem.networks.weights import named_tensors, network_of

NAMES = (*CLICKERS, *(name for name, record in HELPERS.items() if record.family == SAM2))


class Clicker:
    """A network that answers clicks, ready for images. Shared by all who click: it never changes.

    source: one of `NAMES` (SAM 2.1 is fetched where it is not at hand), the path of a file, or of a folder with a SAM 2
    as the library `transformers` saves one. device: see `select_device`; precision: see `choose_precision`.
    Raises InputError for what is none of it or cannot be had.
    """

    def __init__(self, source: str | os.PathLike = CLICK, device: str = "auto", precision: str = "auto"):
        place = select_device(device)
        self._hold = _holder(source, place, choose_precision(precision, place))

    def image(self, image: np.ndarray) -> Held:
        """Hold an image, uint8 [H, W, 3] RGB: its features are computed now, once for all clicks.

        Raises InputError for another shape or type.
        """
        return self._hold(checked(image))


def checked(image: np.ndarray) -> np.ndarray:
    """An image, where it is one. Raises InputError."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError("An image to click on is RGB, 8 bits a colour: uint8 [height, width, 3].")
    return image


def _holder(source: str | os.PathLike, place: torch.device, dtype: torch.dtype) -> Callable[[np.ndarray], Held]:
    if os.fspath(source) in HELPERS or Path(source).is_dir():
        return sam2(source, place, dtype)
    tensors = named_tensors(read_state(locate(source, NAMES)))
    model = ready(network_of(ClickNet, tensors, "click network"), place, dtype)
    return lambda image: HeldByLooks(model, image)
