"""Clicks answered by SAM 2 (Ravi et al., 2024) of the library `transformers`, an optional helper."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from xmem.checkpoints.catalogue import HELPERS, SAM2
from xmem.click.held import Box, Click, Held
from xmem.click.pretrained import Kind, load
from xmem.errors import InputError

SAM2_NETWORK = Kind(("sam2", "sam2_video"), "Sam2Model", "Sam2Processor")
CERTAIN = 10.0  # logit of a mask that is given, as SAM 2 gives masks to itself


def sam2(source: str | os.PathLike, device: torch.device, dtype: torch.dtype) -> Callable[[np.ndarray], Held]:
    """What holds images, by a network from `source`; see `xmem.click.Clicker`."""
    record = HELPERS.get(os.fspath(source))
    if record is not None and record.family != SAM2:
        raise InputError(f"{record.name} takes no clicks.")
    model, processor = load(source, SAM2_NETWORK, device, dtype)
    return lambda image: HeldBySam(model, processor, image)


class HeldBySam(Held):
    """Its answers are logits [1, 1, h, w] at a quarter of what the network sees, which each next click starts from."""

    def __init__(self, model: Any, processor: Any, image: np.ndarray):
        super().__init__(image)
        self._model = model
        self._side: int = model.config.prompt_encoder_config.image_size  # what the network sees is a square
        picture = torch.from_numpy(image).permute(2, 0, 1)
        seen = processor(images=picture, input_data_format="channels_first", return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            self._features = model.get_image_embeddings(seen.to(model.device, model.dtype))

    def _decide(
        self,
        clicks: tuple[Click, ...],
        box: Box | None,
        previous: np.ndarray | None,
        before: Tensor | None,
        quick: bool,
    ) -> Tensor:
        """One click alone may mean a part or the whole: of the network's three answers the one is taken that it thinks
        best of."""
        device = self._model.device
        given: dict[str, Tensor] = {}
        if clicks:
            given["input_points"] = torch.tensor([[[self._place(x, y) for x, y, _ in clicks]]], device=device)
            given["input_labels"] = torch.tensor([[[int(of) for _, _, of in clicks]]], device=device)
        if box is not None:
            corners = [[[*self._place(*box[:2]), *self._place(*box[2:])]]]
            given["input_boxes"] = torch.tensor(corners, device=device)
        if before is not None:
            given["input_masks"] = before
        elif previous is not None:
            given["input_masks"] = self._as_logits(previous)
        is_open = len(clicks) == 1 and box is None and previous is None
        found = self._model(image_embeddings=self._features, multimask_output=is_open, **given)
        best = int(found.iou_scores[0, 0].argmax())
        return found.pred_masks[0, :, best : best + 1]

    def _place(self, x: float, y: float) -> tuple[float, float]:
        """Where a place of the image, at a pixel's middle, lies in what the network sees."""
        height, width = self.image.shape[:2]
        return (x + 0.5) * self._side / width - 0.5, (y + 0.5) * self._side / height - 0.5

    def _as_logits(self, mask: np.ndarray) -> Tensor:
        height, width = self._model.prompt_encoder.mask_input_size
        share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        return torch.from_numpy((2 * share - 1) * CERTAIN)[None, None].to(self._model.device, self._model.dtype)

    def _logits(self, answer: Tensor) -> np.ndarray:
        height, width = self.image.shape[:2]
        return cv2.resize(answer[0, 0].float().cpu().numpy(), (width, height), interpolation=cv2.INTER_LINEAR)
