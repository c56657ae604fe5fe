"""One frame in, probabilities out: the networks and the memories, stepped through a video (XMem, section 3)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xmem.config import MemoryConfig
from xmem.device import is_out_of_memory, release_memory
from xmem.engine.halves import FRAMES_AHEAD, Halves, two_halves
from xmem.errors import InputError
from xmem.limits import MIN_SIZE, inference_size
from xmem.memory import Memory, MemoryUse
from xmem.networks.xmem import ImagePart, XMem, padding_to_stride, soft_aggregate

log = logging.getLogger("xmem")
T = TypeVar("T")

IMAGE_MEAN = (0.485, 0.456, 0.406)  # ImageNet, RGB in [0, 1]
IMAGE_STD = (0.229, 0.224, 0.225)
IMAGE_SCALE = tuple(1 / (255 * std) for std in IMAGE_STD)  # of values from 0 to 255
IMAGE_SHIFT = tuple(-mean / std for mean, std in zip(IMAGE_MEAN, IMAGE_STD, strict=True))

SIZES = (720, 480, 384, 288, 240)  # pixels, those proposed where memory is full


class Encoded(NamedTuple):
    """A frame as the networks take it, what `encode_key` makes of it, and the decoder's part of it where it was made
    ahead."""

    image: Tensor
    key: Tensor
    shrinkage: Tensor
    selection: Tensor
    features: tuple[Tensor, Tensor, Tensor]
    image_part: ImagePart | None


class Propagator:
    """Carries the masks of one video from frame to frame.

    model: an XMem network; its device and precision are used. config: the memories. size: shorter side, in pixels,
    at which the networks run (bilinear, antialiased); None = the frame's own.
    Objects may be given on any frame. `memory` tells how many elements are held; `objects` the ids in channel order.

    Where the device's memory is full, the step is done again with fewer objects and queries at a time, and so are those
    after it: the same numbers, more slowly. A step or key frame that fails has changed nothing; where even the smallest
    pieces do not fit, it raises InputError, and what was returned before stays valid.
    """

    def __init__(self, model: XMem, config: MemoryConfig | None = None, size: int | None = None):
        if size is not None and size < MIN_SIZE:
            raise InputError(f"An inference size of {size} pixels is too small: choose at least {MIN_SIZE}.")
        self.model = model
        self.config = config or MemoryConfig()
        self.size = size
        self.memory = Memory(self.config)
        self._arrived: list[int] = []  # ids in order of arrival: the memory's channels
        self._frame = -1
        self._last_memory = self._last_deep = None
        self._frame_shape: tuple[int, int] | None = None
        self._objects_at_once: int | None = None  # in the network, None = all
        self._constants: tuple[Tensor, Tensor] | None = None  # of the normalisation
        is_small = model.device.type == "cpu" and model.sizes.encoder == "lite"
        self._halves = two_halves() if is_small else None
        self._coming: list[tuple[np.ndarray, Future[Encoded]]] = []  # the next frames, being encoded
        self._order: Tensor | None = None  # channels in order of ids, where that is not the order of arrival

    @property
    def frames_ahead(self) -> int:
        """How many upcoming frames `step` makes use of."""
        return FRAMES_AHEAD if self._halves else 0

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
        self._within_memory(lambda: self._remember(frame, mask, given), given)

    @torch.inference_mode()
    def step(
        self,
        frame: np.ndarray,
        mask: np.ndarray | None = None,
        *,
        objects: Sequence[int] | None = None,
        remember: bool = True,
        last: bool = False,
        upcoming: Sequence[np.ndarray] = (),
    ) -> Tensor:
        """Take the next frame; return the probabilities of background and objects at the frame's size.

        frame: uint8 [H, W, 3] RGB. mask: index mask uint8 [H, W] or None. objects: the ids that the mask speaks for
        (default: those that it contains); one without pixels is absent on this frame, pixels of others count as
        background. Ids that are new join, known ones for which no mask speaks are predicted.
        remember: False keeps a frame without a mask out of working memory; the next frame that may be remembered is.
        last: no frame follows, so that nothing needs to be remembered.
        upcoming: frames that will be given next, in order, where they are known: the very arrays, unchanged till then.
        A small network on a CPU encodes `frames_ahead` of them while it decodes this one; others do without.
        Returns float32 [O + 1, H, W] on the model's device, background first, channels in the order of `objects`.
        Raises InputError where frame or mask do not have these shapes, or the frame size changes.
        """
        prob = self.probabilities(frame, mask, objects=objects, remember=remember, last=last, upcoming=upcoming)
        return self._within_memory(lambda: resize_to_frame(prob, frame.shape[:2]))

    @torch.inference_mode()
    def probabilities(
        self,
        frame: np.ndarray,
        mask: np.ndarray | None = None,
        *,
        objects: Sequence[int] | None = None,
        remember: bool = True,
        last: bool = False,
        upcoming: Sequence[np.ndarray] = (),
    ) -> Tensor:
        """`step`, but at the inference size: returns float32 [O + 1, h, w]; `resize_to_frame` does the rest."""
        self._check(frame, mask)
        given = _spoken(mask, objects)
        if not given and not self._arrived:
            self._frame += 1
            return torch.ones((1, *self._network_size()), device=self.model.device)
        alike = (image for image in upcoming if image.shape == frame.shape and image.dtype == frame.dtype)
        upcoming = list(islice(alike, self.frames_ahead))  # another one is refused when it is given
        halves = self._halves if self._coming or upcoming else None

        def work() -> Tensor:
            propagate = partial(self._propagate, frame, mask, given, remember, last, upcoming, halves)
            prob = self._within_memory(propagate, given)
            self._within_memory(self.memory.consolidate)
            return prob

        prob = halves.run(work) if halves else work()
        return self._crop(prob[0] if self._order is None else prob[0].index_select(0, self._order))

    def memory_use(self) -> MemoryUse:
        """Elements in each memory, and their bytes; takes no time."""
        return self.memory.use()

    def _propagate(
        self,
        frame: np.ndarray,
        mask: np.ndarray | None,
        given: list[int],
        remember: bool,
        last: bool,
        upcoming: Sequence[np.ndarray],
        halves: Halves | None,
    ) -> Tensor:
        """A frame, and the mask that speaks for the given ids -> probabilities [1, O + 1, H', W'] in order of arrival.

        What is held changes only at the end, once nothing can fail.
        """
        config, memory, now = self.config, self.memory, self._frame + 1
        due = remember and _passed(self._last_memory, now) >= config.mem_every
        is_memory = not last and (bool(given) or due)
        synchronised = config.deep_update_every < 0
        beat = synchronised or _passed(self._last_deep, now) >= config.deep_update_every
        is_deep = config.sensory and is_memory and beat

        seen = self._encoded(frame)
        prob, sensory, use, arrived = None, memory.sensory, None, self._arrived
        is_read = any(i not in given for i in arrived)
        if is_read:
            readout, use = memory.read(seen.key, seen.selection, halves)
        if halves:
            self._encode_ahead(upcoming, halves)  # beside all that follows
        if is_read:
            update = config.sensory and not last and not (synchronised and is_deep)  # that would replace it unread
            prob, sensory = self._decode(seen, readout, update, halves)
        if given:
            masks = self._prepare_masks(mask, given, seen.image)
            prob, sensory, arrived = self._override(prob, masks, given, sensory, seen.key.shape[-2:])
        if is_memory:
            objects = prob[:, 1:].to(seen.image.dtype)
            values, deep = self.model.encode_value(seen.image, seen.features[0], objects, sensory, is_deep, halves)
            memory.append(seen.key, seen.shrinkage, seen.selection, values)  # all, or nothing where memory is full

        self._frame = now
        self._last_memory = now if is_memory else self._last_memory
        self._last_deep = now if is_deep else self._last_deep
        self._hold(arrived, deep if is_deep else sensory)
        memory.count(use)
        return prob

    def _remember(self, frame: np.ndarray, mask: np.ndarray, given: list[int]) -> None:
        seen = self._encode(frame)
        prob, sensory, use = None, self.memory.sensory, None
        if any(i not in given for i in self._arrived):
            readout, use = self.memory.read(seen.key, seen.selection)
            prob, sensory = self._decode(seen, readout, update_sensory=False)
        masks = self._prepare_masks(mask, given, seen.image)
        prob, sensory, arrived = self._override(prob, masks, given, sensory, seen.key.shape[-2:])
        objects = prob[:, 1:].to(seen.image.dtype)
        values, _ = self.model.encode_value(seen.image, seen.features[0], objects, sensory, False)
        self.memory.append(seen.key, seen.shrinkage, seen.selection, values, permanent=True)
        self._hold(arrived, sensory)
        self.memory.count(use)

    def _encode(self, frame: np.ndarray, ahead: bool = False) -> Encoded:
        image = self._prepare_image(frame)
        *keys, features = self.model.encode_key(image)
        return Encoded(image, *keys, features, self.model.decoder.image_part(features) if ahead else None)

    def _encoded(self, frame: np.ndarray) -> Encoded:
        """`_encode`, which may have been done, or begun, while frames before were decoded."""
        coming, self._coming = self._coming, []
        if not coming or coming[0][0] is not frame:
            return self._encode(frame)
        self._coming = coming[1:]
        future = coming[0][1]
        return self._encode(frame) if future.cancel() else future.result()

    def _encode_ahead(self, frames: Sequence[np.ndarray], halves: Halves) -> None:
        """Have the second thread encode the frames that come next, as far as it has not been told to."""
        for frame in frames[len(self._coming) :]:
            self._coming.append((frame, halves.later(partial(self._encode, frame, ahead=True))))

    def _decode(
        self, seen: Encoded, readout: Tensor, update_sensory: bool, halves: Halves | None = None
    ) -> tuple[Tensor, Tensor]:
        """Predict all known objects: probabilities [1, O + 1, H', W'], and the sensory memory that follows."""
        logits, sensory = self.model.decode(
            seen.features, readout, self.memory.sensory, update_sensory, seen.image_part, halves
        )
        return soft_aggregate(torch.sigmoid(logits.float())), sensory

    def _override(
        self, prob: Tensor | None, masks: Tensor, given: list[int], sensory: Tensor | None, grid: tuple[int, int]
    ) -> tuple[Tensor, Tensor, list[int]]:
        """Given masks override: others keep their probability, but not where a given mask claims the pixel.

        Returns the probabilities [1, O + 1, H', W'], the sensory memory and the ids with those that are new.
        """
        new = [i for i in given if i not in self._arrived]
        arrived = self._arrived + new
        claimed = masks.sum(1) > 0.5  # [1, H', W']
        merged = [
            masks[:, given.index(i)] if i in given else prob[:, channel].masked_fill(claimed, 0)
            for channel, i in enumerate(arrived, start=1)
        ]
        if new:
            zeros = self.model.initial_sensory(1, len(new), *grid)
            sensory = zeros if sensory is None else torch.cat([sensory, zeros], 1)
        return soft_aggregate(torch.stack(merged, 1)), sensory, arrived

    def _hold(self, arrived: list[int], sensory: Tensor) -> None:
        if arrived is not self._arrived:
            self._arrived = arrived
            order = [0] + [1 + arrived.index(i) for i in self.objects]
            # on the device once, not at each frame, which would wait for it
            self._order = torch.tensor(order, device=self.model.device) if order != sorted(order) else None
        self.memory.sensory = sensory

    def _within_memory(self, work: Callable[[], T], given: Sequence[int] = ()) -> T:
        """What `work` returns, done in smaller pieces where the device's memory is full; given: ids that may be new."""
        while True:
            try:
                with self._limits():
                    return work()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            # outside, so that the failed try's tensors are gone
            release_memory(self.model.device)
            self._take_smaller_pieces(len({*self._arrived, *given}))

    @contextmanager
    def _limits(self) -> Iterator[None]:
        """The network with this engine's limit, and then as it was: others may use it, too."""
        before = self.model.objects_at_once
        self.model.objects_at_once = self._objects_at_once or before
        try:
            yield
        finally:
            self.model.objects_at_once = before

    def _take_smaller_pieces(self, objects: int) -> None:
        """Half of the objects and of the distances at a time. Raises InputError where both are smallest already."""
        is_first = self._objects_at_once is None
        objects = min(self._objects_at_once or objects, self.model.objects_at_once or objects)
        self._objects_at_once = max(objects // 2, 1)
        if self.memory.halve_chunks(self.model.device) or objects > 1:
            if is_first:
                log.warning("The device's memory is full: the run goes on in smaller pieces, which takes longer.")
            return
        size = min(self._network_size())
        smaller = next((f"a smaller size, such as {other} pixels" for other in SIZES if other < size), None)
        raise InputError(
            f"The device's memory is full at {size} pixels, even in the smallest pieces: choose "
            f"{smaller or 'fewer objects or fewer key frames'}; the frames done so far are kept."
        )

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
        if self._frame_shape is None:
            inference_size(shape[1], shape[0], self.size)  # refuses what is too large before anything is held
        self._frame_shape = shape

    def _prepare_image(self, frame: np.ndarray) -> Tensor:
        """uint8 [H, W, 3] -> normalised, resized, padded [1, 3, H', W'], all of it on the network's device."""
        height, width = frame.shape[:2]
        rows = self._upload(frame).view(height, 3 * width).float()
        if self._constants is None:  # made once: making them waits for the device
            constants = (torch.tensor(c, device=rows.device).repeat(width) for c in (IMAGE_SCALE, IMAGE_SHIFT))
            self._constants = tuple(constants)
        scale, shift = self._constants
        # (x / 255 - mean) / std as one pass: x scale + shift along whole rows, a colour after the other
        image = torch.addcmul(shift, rows, scale).view(1, height, width, 3).permute(0, 3, 1, 2)
        image = self._to_network(image).to(self.model.dtype)
        return image.contiguous(memory_format=torch.channels_last)

    def _prepare_masks(self, mask: np.ndarray, given: list[int], image: Tensor) -> Tensor:
        """Index mask [H, W] -> soft masks of the given ids, [1, G, H', W'], the way that the image goes."""
        index = self._upload(mask if mask.dtype == np.uint8 else mask.astype(np.int32))
        masks = torch.stack([index == i for i in given])[None].float()
        return self._to_network(masks)

    def _upload(self, array: np.ndarray) -> Tensor:
        """To the network's device as it is, bytes and not floats; to a CUDA device while the host goes on."""
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if self.model.device.type == "cuda":
            return tensor.pin_memory().to(self.model.device, non_blocking=True)
        return tensor.to(self.model.device)

    def _to_network(self, x: Tensor) -> Tensor:
        """Resize [1, C, H, W] to the inference size and pad with zeros to multiples of 16."""
        size = self._network_size()
        if x.shape[-2:] != size:
            # enlarged, nothing can alias: the same numbers in less than half the time
            is_smaller = size[0] < x.shape[-2] or size[1] < x.shape[-1]
            x = F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=is_smaller)
        return F.pad(x, padding_to_stride(*size))

    def _crop(self, prob: Tensor) -> Tensor:
        """Padding taken off: [O + 1, H', W'] -> [O + 1, h, w]."""
        height, width = self._network_size()
        left, _, top, _ = padding_to_stride(height, width)
        return prob[:, top : top + height, left : left + width]

    def _network_size(self) -> tuple[int, int]:
        height, width = self._frame_shape
        return inference_size(width, height, self.size)


def resize_to_frame(prob: Tensor, shape: tuple[int, int]) -> Tensor:
    """Probabilities [O + 1, h, w] at inference size -> [O + 1, H, W], bilinear; shape: (H, W) of the frame."""
    if prob.shape[-2:] == tuple(shape):
        return prob
    return F.interpolate(prob[None], size=tuple(shape), mode="bilinear", align_corners=False)[0]


def _passed(since: int | None, now: int) -> float:
    """Frames from one that may never have been."""
    return float("inf") if since is None else now - since


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
