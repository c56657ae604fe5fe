"""One frame in, probabilities out: the networks and the memories, stepped through a video (XMem, section 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xmem.config import MemoryConfig
from xmem.errors import InputError
from xmem.memory import Memory, MemoryUse
from xmem.network import XMem, aggregate, padding_to_stride

IMAGE_MEAN = (0.485, 0.456, 0.406)  # ImageNet, RGB in [0, 1]
IMAGE_STD = (0.229, 0.224, 0.225)
IMAGE_SCALE = tuple(1 / (255 * std) for std in IMAGE_STD)  # of values from 0 to 255
IMAGE_SHIFT = tuple(-mean / std for mean, std in zip(IMAGE_MEAN, IMAGE_STD, strict=True))


class Propagator:
    """Carries the masks of one video from frame to frame.

    model: an XMem network; its device and precision are used. config: the memories. size: shorter side, in pixels,
    at which the networks run (bilinear, antialiased); None = the frame's own.
    Objects may be given on any frame. `memory` tells how many elements are held; `objects` the ids in channel order.
    """

    def __init__(self, model: XMem, config: MemoryConfig | None = None, size: int | None = None):
        if size is not None and size < 16:
            raise InputError(f"An inference size of {size} pixels is too small: choose at least 16.")
        self.model = model
        self.config = config or MemoryConfig()
        self.size = size
        self.memory = Memory(self.config)
        self._arrived: list[int] = []  # ids in order of arrival: the memory's channels
        self._frame = -1
        self._last_memory = self._last_deep = None
        self._frame_shape: tuple[int, int] | None = None

    @property
    def objects(self) -> list[int]:
        """Object ids in the order of the channels that `step` returns (background, channel 0, left out)."""
        return sorted(self._arrived)

    @torch.inference_mode()
    def remember(self, frame: np.ndarray, mask: np.ndarray, objects: Sequence[int] | None = None) -> None:
        """Keep a key frame in permanent memory, which nothing limits and nothing leaves; before the first step.

        frame: uint8 [H, W, 3] RGB. mask: index mask uint8 [H, W]. objects: the ids that the mask speaks for (default:
        those that it contains); one without pixels is absent here. Ids that are new join; known ones for which the mask
        does not speak are predicted from the key frames remembered before.
        Raises InputError where the mask speaks for nobody, frames have been stepped through, or shapes are wrong.
        """
        if self._frame >= 0:
            raise InputError("Key frames must be remembered before the first step: start a new propagator for them.")
        self._check(frame, mask)
        given = _spoken(mask, objects)
        if not given:
            raise InputError("A key frame's mask must show at least one object, or name those that are absent.")
        image = self._prepare_image(frame)
        key, shrinkage, selection, features = self.model.encode_key(image)
        prob = None
        if any(i not in given for i in self._arrived):
            prob = self._read(key, selection, features, update_sensory=False)
        prob = self._override(prob, self._prepare_masks(mask, given, image), given, key.shape[-2:])
        values, _ = self.model.encode_value(image, features[0], prob[:, 1:].to(image.dtype), self.memory.sensory, False)
        self.memory.append(key, shrinkage, selection, values, permanent=True)

    @torch.inference_mode()
    def step(
        self,
        frame: np.ndarray,
        mask: np.ndarray | None = None,
        *,
        objects: Sequence[int] | None = None,
        remember: bool = True,
        last: bool = False,
    ) -> Tensor:
        """Take the next frame; return the probabilities of background and objects at the frame's size.

        frame: uint8 [H, W, 3] RGB. mask: index mask uint8 [H, W] or None. objects: the ids that the mask speaks for
        (default: those that it contains); one without pixels is absent on this frame, pixels of others count as
        background. Ids that are new join, known ones for which no mask speaks are predicted.
        remember: False keeps a frame without a mask out of working memory; the next frame that may be remembered is.
        last: no frame follows, so that nothing needs to be remembered.
        Returns float32 [O + 1, H, W] on the model's device, background first, channels in the order of `objects`.
        Raises InputError where frame or mask do not have these shapes, or the frame size changes.
        """
        prob = self.probabilities(frame, mask, objects=objects, remember=remember, last=last)
        return resize_to_frame(prob, frame.shape[:2])

    @torch.inference_mode()
    def probabilities(
        self,
        frame: np.ndarray,
        mask: np.ndarray | None = None,
        *,
        objects: Sequence[int] | None = None,
        remember: bool = True,
        last: bool = False,
    ) -> Tensor:
        """`step`, but at the inference size: returns float32 [O + 1, h, w]; `resize_to_frame` does the rest."""
        self._check(frame, mask)
        self._frame += 1
        given = _spoken(mask, objects)
        if not given and not self._arrived:
            return torch.ones((1, *self._network_size()), device=self.model.device)
        image = self._prepare_image(frame)
        prob = self._propagate(image, self._prepare_masks(mask, given, image), given, remember, last)
        order = [0] + [1 + self._arrived.index(i) for i in self.objects]
        return self._crop(prob[0, order])

    def memory_use(self) -> MemoryUse:
        """Elements in each memory, and their bytes; takes no time."""
        return self.memory.use()

    def _propagate(self, image: Tensor, masks: Tensor | None, given: list[int], remember: bool, last: bool) -> Tensor:
        """image [1, 3, H', W'], masks [1, G, H', W'] of the given ids -> probabilities [1, O + 1, H', W']."""
        config, memory = self.config, self.memory
        due = remember and self._frames_since(self._last_memory) >= config.mem_every
        is_memory = not last and (bool(given) or due)
        synchronised = config.deep_update_every < 0
        is_deep = (
            config.sensory
            and is_memory
            and (synchronised or self._frames_since(self._last_deep) >= config.deep_update_every)
        )

        key, shrinkage, selection, features = self.model.encode_key(image)
        prob = None
        if any(i not in given for i in self._arrived):
            update = config.sensory and not last and not (synchronised and is_deep)  # that would replace it unread
            prob = self._read(key, selection, features, update)
        if given:
            prob = self._override(prob, masks, given, key.shape[-2:])
        if is_memory:
            objects = prob[:, 1:].to(image.dtype)
            values, sensory = self.model.encode_value(image, features[0], objects, memory.sensory, is_deep)
            memory.append(key, shrinkage, selection, values)
            self._last_memory = self._frame
            if is_deep:
                memory.sensory, self._last_deep = sensory, self._frame
        return prob

    def _read(self, key: Tensor, selection: Tensor, features: tuple[Tensor, ...], update_sensory: bool) -> Tensor:
        """Predict all known objects from memory: probabilities [1, O + 1, H', W']."""
        readout = self.memory.read(key, selection)
        logits, self.memory.sensory = self.model.decode(features, readout, self.memory.sensory, update_sensory)
        return torch.softmax(aggregate(torch.sigmoid(logits.float())), 1)

    def _override(self, prob: Tensor | None, masks: Tensor, given: list[int], grid: tuple[int, int]) -> Tensor:
        """Given masks override: others keep their probability, but not where a given mask claims the pixel."""
        new = [i for i in given if i not in self._arrived]
        known = len(self._arrived)
        self._arrived += new
        merged = masks.new_zeros((1, len(self._arrived), *masks.shape[-2:]))
        if prob is not None:
            merged[:, :known] = prob[:, 1:]
            merged[(masks.sum(1, keepdim=True) > 0.5).expand_as(merged)] = 0
        merged[:, [self._arrived.index(i) for i in given]] = masks
        if new:
            self.memory.add_sensory(self.model.initial_sensory(1, len(new), *grid))
        return torch.softmax(aggregate(merged), 1)

    def _frames_since(self, frame: int | None) -> float:
        return float("inf") if frame is None else self._frame - frame

    def _check(self, frame: np.ndarray, mask: np.ndarray | None) -> None:
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise InputError(f"A frame must be uint8 [height, width, 3] in RGB, not {frame.dtype} {list(frame.shape)}.")
        shape = frame.shape[:2]
        if self._frame_shape not in (None, shape):
            before, now = self._frame_shape, shape
            raise InputError(
                f"The frame size changed from {before[1]}x{before[0]} to {now[1]}x{now[0]}: give frames of one size."
            )
        if mask is not None and (mask.shape != shape or not np.issubdtype(mask.dtype, np.integer)):
            raise InputError(
                f"A mask must be an index mask of the frame's size {list(shape)}, not {mask.dtype} {list(mask.shape)}."
            )
        self._frame_shape = shape

    def _prepare_image(self, frame: np.ndarray) -> Tensor:
        """uint8 [H, W, 3] -> normalised, resized, padded [1, 3, H', W']."""
        height, width = frame.shape[:2]
        rows = torch.from_numpy(np.ascontiguousarray(frame)).to(self.model.device).view(height, 3 * width).float()
        # (x / 255 - mean) / std as one pass: x scale + shift along whole rows, a colour after the other
        scale, shift = (torch.tensor(c, device=rows.device).repeat(width) for c in (IMAGE_SCALE, IMAGE_SHIFT))
        image = torch.addcmul(shift, rows, scale).view(1, height, width, 3).permute(0, 3, 1, 2)
        image = self._to_network(image).to(self.model.dtype)
        return image.contiguous(memory_format=torch.channels_last)

    def _prepare_masks(self, mask: np.ndarray | None, given: list[int], image: Tensor) -> Tensor | None:
        """Index mask [H, W] -> soft masks of the given ids, [1, G, H', W'], the way that the image goes."""
        if not given:
            return None
        index = torch.from_numpy(mask.astype(np.int32)).to(image.device)
        masks = torch.stack([index == i for i in given])[None].float()
        return self._to_network(masks)

    def _to_network(self, x: Tensor) -> Tensor:
        """Resize [1, C, H, W] to the inference size and pad with zeros to multiples of 16."""
        size = self._network_size()
        if x.shape[-2:] != size:
            x = F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)
        return F.pad(x, padding_to_stride(*size))

    def _crop(self, prob: Tensor) -> Tensor:
        """Padding taken off: [O + 1, H', W'] -> [O + 1, h, w]."""
        height, width = self._network_size()
        left, _, top, _ = padding_to_stride(height, width)
        return prob[:, top : top + height, left : left + width]

    def _network_size(self) -> tuple[int, int]:
        height, width = self._frame_shape
        if self.size is None:
            return height, width
        if height <= width:
            return self.size, int(self.size * width / height)
        return int(self.size * height / width), self.size


def resize_to_frame(prob: Tensor, shape: tuple[int, int]) -> Tensor:
    """Probabilities [O + 1, h, w] at inference size -> [O + 1, H, W], bilinear; shape: (H, W) of the frame."""
    if prob.shape[-2:] == tuple(shape):
        return prob
    return F.interpolate(prob[None], size=tuple(shape), mode="bilinear", align_corners=False)[0]


def _spoken(mask: np.ndarray | None, objects: Sequence[int] | None) -> list[int]:
    """The ids that a mask speaks for, ascending. Raises InputError for ids without a mask, or that no mask can show."""
    if mask is None:
        if objects:
            raise InputError("Objects were named without a mask: give the index mask that speaks for them.")
        return []
    if objects is None:
        return [int(i) for i in np.unique(mask) if i]
    ids = sorted({int(i) for i in objects})
    if ids and not 1 <= ids[0] <= ids[-1] <= 255:
        raise InputError(f"Object ids must be from 1 to 255, not {ids[0] if ids[0] < 1 else ids[-1]}.")
    return ids
