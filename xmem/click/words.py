"""Words -> where in an image they are meant, by CLIPSeg (Lüddecke and Ecker, 2022), and a first mask from that.

An optional helper, of the library `transformers`. Its heat map has no edges: the click network finds them.
"""

from __future__ import annotations

import os

import cv2
import numpy as np
import torch

from xmem.checkpoints.catalogue import WORDS
from xmem.click.clicker import checked
from xmem.click.held import Click, Held
from xmem.click.pretrained import Kind, load
from xmem.click.simulate import depth
from xmem.device import choose_precision, select_device
from xmem.errors import InputError

CLIPSEG_NETWORK = Kind(("clipseg",), "CLIPSegForImageSegmentation", "CLIPSegProcessor")
LEAST = 0.3  # heat: where no place has more, nothing is found
SHARE = 0.4  # of the greatest heat, that what is meant has


class Words:
    """A network that finds what words name, ready for images. Shared by all who ask: it never changes.

    source: "clipseg" (fetched where it is not at hand), or a folder with a CLIPSeg as `transformers` saves one. device:
    see `select_device`; precision: see `choose_precision`. Raises InputError for what is none of it or cannot be had.
    """

    def __init__(self, source: str | os.PathLike = WORDS, device: str = "auto", precision: str = "auto"):
        place = select_device(device)
        dtype = choose_precision(precision, place)
        self._model, self._processor = load(source, CLIPSEG_NETWORK, place, dtype)

    @torch.inference_mode()
    def heat(self, image: np.ndarray, words: str) -> np.ndarray:
        """How much each pixel of an image, uint8 [H, W, 3] RGB, is of what words name: float32 [H, W], 0 to 1.

        The network was trained on English. Raises InputError for no words or too many, or another shape of image.
        """
        picture = torch.from_numpy(checked(image)).permute(2, 0, 1)
        if not words.strip():
            raise InputError("No words are given: say what the object is, such as 'a red car'.")
        given = self._processor(
            text=[words.strip()], images=[picture], input_data_format="channels_first", return_tensors="pt"
        )
        most = self._model.config.text_config.max_position_embeddings
        if given["input_ids"].shape[1] > most:
            raise InputError("Those are more words than the network reads: a few are enough, such as 'a red car'.")
        model = self._model
        given = given.to(model.device)
        given["pixel_values"] = given["pixel_values"].to(model.dtype)
        logits = model(**given).logits
        heat = logits.reshape(logits.shape[-2:]).float().sigmoid().cpu().numpy()
        return cv2.resize(heat, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)

    def mask(self, held: Held, words: str) -> np.ndarray:
        """The object of a held image that words name, where there are several the likeliest: bool [H, W].

        Raises InputError where nothing is found.
        """
        mask = mask_of_heat(held, self.heat(held.image, words))
        if mask is None:
            raise InputError(f"Nothing was found for {words.strip()!r}: use other words, or click the object.")
        return mask


def mask_of_heat(held: Held, heat: np.ndarray) -> np.ndarray | None:
    """The mask, bool [H, W], that the click network makes of the place that has the most heat, float32 [H, W]; None
    where there is none.

    The place is given as an earlier mask to correct, with a click where it is deep and hot. (Of a click, two, a box,
    an earlier mask, and some of them together, that did best on heat maps that were made of masks.)
    """
    if heat.max() < LEAST:
        return None
    _, labels = cv2.connectedComponents((heat >= SHARE * heat.max()).astype(np.uint8))
    sums = np.bincount(labels.ravel(), weights=heat.ravel())
    sums[0] = 0
    place = labels == sums.argmax()
    inner = depth(place) * heat
    y, x = np.unravel_index(int(inner.argmax()), inner.shape)
    click: Click = (float(x), float(y), True)
    mask = held.mask([click], previous=place)
    return mask if mask.any() else None
