"""One frame in, probabilities out: a network and what it remembers, stepped through a video."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from functools import cached_property, partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from xmem.device import is_out_of_memory, release_memory
from xmem.engine.halves import FRAMES_AHEAD, Halves, two_halves
from xmem.engine.pipeline import with_upcoming
from xmem.engine.preparing import Preparing, resize_to_frame
from xmem.engine.state import EngineState, fingerprint
from xmem.errors import InputError
from xmem.families import Turn, family_of, overflows
from xmem.limits import MIN_SIZE
from xmem.memory import MemoryUse
from xmem.networks import Network
from xmem.pieces import WHOLE, Pieces

log = logging.getLogger("xmem")
T = TypeVar("T")
Item = TypeVar("Item")

SIZES = (720, 480, 384, 288, 240)  # pixels, those proposed where memory is full


class Propagator:
    """Carries the masks of one video from frame to frame.

    model: a network of any family; its device and precision are used, and nothing of it is changed. config: settings of
    its family (XMem: `MemoryConfig`), None = the defaults. size: shorter side, in pixels, at which the network
    runs (bilinear, antialiased); None = the frame's own.
    Objects may be given on any frame, as far as the family allows it. `objects` tells the ids in channel order.

    Where the device's memory is full, the step is done again with fewer objects and queries at a time, and so are those
    after it: the same numbers, more slowly. A step or key frame that fails has changed nothing; where even the smallest
    pieces do not fit, it raises InputError, and what was returned before stays valid.
    """

    def __init__(self, model: Network, config: Any = None, size: int | None = None):
        if size is not None and size < MIN_SIZE:
            raise InputError(f"An inference size of {size} pixels is too small: choose at least {MIN_SIZE}.")
        self.model = model
        self.family = family_of(model)
        self.config = self.family.config() if config is None else config
        if not isinstance(self.config, self.family.config):
            raise InputError(
                f"{type(self.config).__name__} holds no settings of {self.family.title}: give a "
                f"{self.family.config.__name__}, or none for the defaults."
            )
        self.size = size
        self.video_state = self.family.open(model, self.config)
        self.frame_index = -1  # of the last frame
        self._preparing: Preparing | None = None
        self._frame_shape: tuple[int, int] | None = None
        self._pieces = WHOLE
        self._is_range_checked = model.dtype != torch.float16
        is_small = model.device.type == "cpu" and model.is_small
        self._halves = two_halves() if is_small else None
        self._encoding: list[tuple[np.ndarray, Future[Any]]] = []  # the next frames, being encoded
        self._orders: dict[tuple[int, ...], Tensor] = {}  # channels in order of ids, by the order of arrival

    @property
    def frames_ahead(self) -> int:
        """How many upcoming frames `step` makes use of."""
        return FRAMES_AHEAD if self._halves else 0

    @property
    def objects(self) -> list[int]:
        """Object ids in the order of the channels that `step` returns (background, channel 0, left out)."""
        return sorted(self.video_state.arrived)

    @property
    def memory(self) -> Any:
        """The family's memory (XMem: `xmem.memory.Memory`, which tells `working_size`, `long_term_size` and more)."""
        return self.video_state.memory

    @property
    def takes_smaller_pieces(self) -> bool:
        """Whether the device's memory was full, so that less is done at a time."""
        return self._pieces != WHOLE

    def memory_use(self) -> MemoryUse:
        """Elements in each memory, and their bytes; takes no time."""
        return self.video_state.use()

    def state(self, notes: Mapping[str, Any] | None = None) -> EngineState:
        """All that is held between the last frame and the next one, to go on from with `resume`, here or elsewhere.

        On a CPU in float32, the probabilities after it are those of a run without a pause, to the bit. The state shares
        its tensors with this propagator: write it before the next step.
        notes: what the caller wants to find with it, in JSON's types.
        """
        tensors, values = self.video_state.save()
        own = {
            "family": self.family.name,
            "network": self._fingerprint,
            "config": asdict(self.config),
            "size": self.size,
            "frame_shape": self._frame_shape,
            "frame_index": self.frame_index,
            "pieces": [self._pieces.objects, self._pieces.distances],
        }
        return EngineState(tensors, {"engine": own, "state": values}, dict(notes or {}))

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self.model)  # which nobody changes: looked at once, not at each state

    @classmethod
    def resume(cls, model: Network, state: EngineState) -> Propagator:
        """A propagator that goes on where `state` was taken. Raises InputError where it is of another network."""
        try:
            own = state.values["engine"]
            family = family_of(model)
            if (own["family"], own["network"]) != (family.name, fingerprint(model)):
                raise InputError(
                    "The run was suspended with another network or in another precision: start it anew with this one."
                )
            engine = cls(model, family.config(**own["config"]), own["size"])
            tensors = {name: tensor.to(model.device) for name, tensor in state.tensors.items()}
            engine.video_state.load(tensors, state.values["state"])
            engine.frame_index = int(own["frame_index"])
            engine._pieces = Pieces(*own["pieces"])
            if own["frame_shape"]:
                engine._place(tuple(own["frame_shape"]))
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise InputError("The state of the run is damaged: start the run anew.") from error
        return engine

    @torch.inference_mode()
    def remember(self, frame: np.ndarray, mask: np.ndarray, objects: Sequence[int] | None = None) -> None:
        """Keep a key frame in permanent memory, which nothing limits and nothing leaves; before the first step.

        frame: uint8 [H, W, 3] RGB. mask: index mask uint8 [H, W]. objects: the ids that the mask speaks for (default:
        those that it contains); one without pixels is absent here. Ids that are new join; known ones for which the mask
        does not speak are predicted from the key frames remembered before.
        Raises InputError where the mask speaks for nobody, frames have been stepped through, or shapes are wrong.
        """
        if self.frame_index >= 0:
            raise InputError("Key frames must be remembered before the first step: start a new propagator for them.")
        preparing = self._checked(frame, mask)
        ids = _ids_of(mask, objects)
        if not ids:
            raise InputError("A key frame's mask must show at least one object, or name those that are absent.")

        def work() -> None:
            seen = self.video_state.encode(preparing.image(frame))
            self.video_state.remember(seen, preparing.given(mask, ids), self._pieces)

        self._within_memory(work, ids)

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
        full_size: bool = True,
    ) -> Tensor:
        """Take the next frame; return the probabilities of background and objects at the frame's size.

        frame: uint8 [H, W, 3] RGB. mask: index mask uint8 [H, W] or None. objects: the ids that the mask speaks for
        (default: those that it contains); one without pixels is absent on this frame, pixels of others count as
        background. Ids that are new join, known ones for which no mask speaks are predicted.
        remember: False keeps a frame without a mask out of working memory; the next frame that may be remembered is.
        last: no frame follows, so that nothing needs to be remembered.
        upcoming: frames that will be given next, in order, where they are known: the very arrays, unchanged till then.
        A small network on a CPU encodes `frames_ahead` of them while it decodes this one; others do without. `run` does
        this by itself.
        full_size: False returns them at the inference size, [O + 1, h, w]; `resize_to_frame` does the rest.
        Returns float32 [O + 1, H, W] on the model's device, background first, channels in the order of `objects`.
        Raises InputError where frame or mask do not have these shapes, or the frame size changes.
        """
        preparing = self._checked(frame, mask)
        ids = _ids_of(mask, objects)
        shape = frame.shape[:2]
        if not ids and not self.video_state.arrived:
            self.frame_index += 1
            return torch.ones((1, *(shape if full_size else preparing.size)), device=self.model.device)
        alike = (image for image in upcoming if image.shape == frame.shape and image.dtype == frame.dtype)
        upcoming = list(islice(alike, self.frames_ahead))  # another one is refused when it is given
        halves = self._halves if self._encoding or upcoming else None

        def finish(prob: Tensor, arrived: list[int]) -> Tensor:
            prob = self._in_order(preparing.crop(prob)[0], arrived)
            return resize_to_frame(prob, shape) if full_size else prob

        def work() -> Tensor:
            ahead = partial(self._encode_ahead, upcoming, halves) if halves else lambda: None
            turn = Turn(self.frame_index + 1, remember, last, ahead)
            given = preparing.given(mask, ids) if mask is not None and ids else None
            pieces = replace(self._pieces, sharing=halves)
            return self.video_state.step(self._encoded(frame), given, turn, pieces, finish)

        def whole() -> Tensor:
            prob = self._within_memory(work, ids)
            self.frame_index += 1
            self._check_range()
            self._settle()
            return prob

        return halves.run(whole) if halves else whole()

    def run(
        self,
        images: Iterable[Item],
        masks: Mapping[int, np.ndarray] | Callable[[Item], Mapping[str, Any]] | None = None,
        *,
        full_size: bool = True,
        around: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> Generator[tuple[Item, Tensor], None, None]:
        """Step through images; yield each with its probabilities, as `step` returns them. Frames that a network
        encodes ahead are taken from `images` ahead.

        images: uint8 [H, W, 3] RGB, or items that have such an `image`, as `xmem.video.Frame` has.
        masks: index masks by the number of the image, from 0; or a function that gives for an item, once its turn has
        come, what `step` takes as keywords (mask, objects, remember, last).
        around: makes a context for each step, such as a stopwatch.
        """
        for number, (item, others) in enumerate(with_upcoming(images, self.frames_ahead)):
            arguments = masks(item) if callable(masks) else {"mask": (masks or {}).get(number)}
            upcoming = [_image_of(other) for other in others]
            with around():
                prob = self.step(_image_of(item), **arguments, upcoming=upcoming, full_size=full_size)
            yield item, prob

    def _checked(self, frame: np.ndarray, mask: np.ndarray | None) -> Preparing:
        """The way to the grid of frames like this one. Raises InputError for shapes that are wrong."""
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
        return self._place(shape) if self._preparing is None else self._preparing

    def _place(self, shape: tuple[int, int]) -> Preparing:
        """All frames are of this size (H, W). Raises InputError for what is too large."""
        self._preparing = preparing = Preparing(self.model, self.family.grid, self.size, shape)
        self._frame_shape, self.video_state.size = shape, preparing.size
        return preparing

    def _encode(self, frame: np.ndarray, ahead: bool = False) -> Any:
        assert self._preparing is not None, "frames are placed before they are encoded"
        return self.video_state.encode(self._preparing.image(frame), ahead)

    def _encoded(self, frame: np.ndarray) -> Any:
        """`_encode`, which may have been done, or begun, while frames before were decoded."""
        encoding, self._encoding = self._encoding, []
        if not encoding or encoding[0][0] is not frame:
            return self._encode(frame)
        self._encoding = encoding[1:]
        future = encoding[0][1]
        return self._encode(frame) if future.cancel() else future.result()

    def _encode_ahead(self, frames: Sequence[np.ndarray], halves: Halves) -> None:
        """Have the second thread encode the frames that come next, as far as it has not been told to."""
        for frame in frames[len(self._encoding) :]:
            self._encoding.append((frame, halves.later(partial(self._encode, frame, ahead=True))))

    def _in_order(self, prob: Tensor, arrived: list[int]) -> Tensor:
        """Channels [O + 1, h, w] in order of arrival -> in order of ids."""
        order = [0, *(1 + arrived.index(i) for i in sorted(arrived))]
        if order == sorted(order):
            return prob
        if tuple(order) not in self._orders:  # on the device once, not at each frame, which would wait for it
            self._orders = {tuple(order): torch.tensor(order, device=self.model.device)}
        return prob.index_select(0, self._orders[tuple(order)])

    def _check_range(self) -> None:
        """Once, behind the first frame that is remembered: beyond float16's range, all masks to come would be empty."""
        if not self._is_range_checked:
            self._is_range_checked = True
            if overflows(self.video_state):
                raise InputError(
                    "The network's numbers on this video are beyond what float16 holds: choose bfloat16 or float32."
                )

    def _settle(self) -> None:
        """Limits of memory are kept as soon as there is memory to do so in: the frame is done, whatever happens."""
        try:
            self._within_memory(self.video_state.settle)
        except InputError:
            log.warning("The device's memory is too full to shorten what is remembered: it is tried again later.")

    def _within_memory(self, work: Callable[[], T], new: Sequence[int] = ()) -> T:
        """What `work` returns, done in smaller pieces where the device's memory is full; new: ids that may be new."""
        while True:
            try:
                return work()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            # outside, so that the failed try's tensors are gone
            release_memory(self.model.device)
            self._take_smaller_pieces(len({*self.video_state.arrived, *new}))

    def _take_smaller_pieces(self, objects: int) -> None:
        """Half as much at a time. Raises InputError where that is least already."""
        smaller = self.video_state.smaller(self._pieces, objects)
        if smaller is not None:
            if not self.takes_smaller_pieces:
                log.warning("The device's memory is full: the run goes on in smaller pieces, which takes longer.")
            self._pieces = smaller
            return
        size = min(self.video_state.size)
        lower = next((f"a smaller size, such as {other} pixels" for other in SIZES if other < size), None)
        raise InputError(
            f"The device's memory is full at {size} pixels, even in the smallest pieces: choose "
            f"{lower or 'fewer objects or fewer key frames'}; the frames done so far are kept."
        )


def _image_of(item: Any) -> np.ndarray:
    return item if isinstance(item, np.ndarray) else item.image


def _ids_of(mask: np.ndarray | None, objects: Sequence[int] | None) -> list[int]:
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
