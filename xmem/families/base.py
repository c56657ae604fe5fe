"""The seam between the engine and the families of networks: what a family is, and what it does with one video.

The engine (`xmem.engine.Propagator`) checks what it is given, places frames on the network's grid, encodes frames
ahead, does a step again in smaller pieces where memory is full, and brings results to the frame's size. A family owns
the rest: what is remembered when, how it is read, how given masks override.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from xmem.errors import InputError
from xmem.memory import MemoryUse
from xmem.networks import Network
from xmem.pieces import Pieces

Finish = Callable[[Tensor, list[int]], Tensor]


@dataclass(frozen=True)
class Grid:
    """How a frame becomes what the networks take, after it was resized to the inference size.

    multiple: of both sides. plus_one: sides are n multiple + 1, the nearest ones, and the image is resized to them in
    one step (bicubic); else it is padded with zeros, evenly on both sides. pad_before_normalising: zeros are black, not
    the mean colour. longest: of the longer side, in pixels, where no inference size is asked for; None = any.
    hard_masks: given masks are resized by nearest neighbours, not as the image is.
    """

    multiple: int = 16
    plus_one: bool = False
    pad_before_normalising: bool = False
    longest: int | None = None
    hard_masks: bool = False


@dataclass(frozen=True, eq=False)
class Given:
    """A mask that was given for a frame. ids: those that it speaks for, ascending; one without pixels is absent.

    index: index mask [H, W] at the frame's size, as given; masks: of the ids, float32 [1, G, H', W'] on the grid,
    resized as the image was, or as the grid says.
    """

    ids: list[int]
    index: np.ndarray
    masks: Tensor


class Outlook(NamedTuple):
    """Elements that a run's memories will hold, without key frames: on average, and at most. has_room: where these are
    limited, so that there is room for all of them from the first frame on."""

    mean: float
    most: int
    has_room: bool


@dataclass(frozen=True)
class Turn:
    """A frame among those of its video. index: from 0. remember: whether it may be remembered without a mask.
    last: no frame follows, so that nothing needs to be remembered.
    read: to be called once memory has been read: other threads begin to encode the next frames then."""

    index: int
    remember: bool = True
    last: bool = False
    read: Callable[[], object] = lambda: None


class VideoState(ABC):
    """All that one video leaves behind in the memories of a family's network.

    `size` is the inference size, (h, w) before padding, which the engine sets with the first frame.
    `arrived` names the objects, in the order of the channels, which is that of their arrival. What is held changes only
    at the end of `step` and `remember`, once nothing can fail: where memory is full, they raise, and are called again.
    """

    def __init__(self, model: Network, config: Any):
        self.model = model
        self.config = config
        self.size = (0, 0)
        self.arrived: list[int] = []
        self.memory: Any = None

    @abstractmethod
    def encode(self, image: Tensor, ahead: bool = False) -> Any:
        """All that only the image has a part in: image [1, 3, H', W'] on the grid -> what `step` takes as `seen`.

        ahead: the frame's turn has not come, and another thread calls: what is held is neither read nor changed.
        """

    @abstractmethod
    def step(self, seen: Any, given: Given | None, turn: Turn, pieces: Pieces, finish: Finish) -> Tensor:
        """Predict all known objects, let a given mask override, remember: the frame is done.

        finish: turns probabilities float32 [1, O + 1, H', W'], background first, on the grid (a network that upsamples
        by itself: of `size`), with the ids of its channels, into what is returned; called before anything
        that is held changes. Where nothing has arrived yet, `given` is there.
        """

    @abstractmethod
    def remember(self, seen: Any, given: Given, pieces: Pieces) -> None:
        """Keep a key frame for good, before the first step. Raises InputError where the family cannot."""

    @property
    def interval(self) -> int:
        """r, frames between memory frames, at `size`; 1 in families that remember every frame."""
        return getattr(self.config, "mem_every", 1)

    def settle(self) -> None:  # noqa: B027 (most have nothing to do)
        """After a step: bring what is held back within its limits. Where memory is full, it raises, having changed
        nothing, and is called again."""

    @abstractmethod
    def use(self) -> MemoryUse:
        """How much is held."""

    def outlook(self, frames: int, per_frame: int) -> Outlook:
        """For the estimate of a run of so many frames; per_frame: elements of one key frame, which has been remembered.
        A memory that stays as it is need not say more."""
        return Outlook(per_frame, per_frame, has_room=True)

    def fill(self, elements: int) -> None:  # noqa: B027 (reading may take the same time however much is held)
        """For the estimate of a run: hold so many permanent elements more, whose content is nothing."""

    def smaller(self, pieces: Pieces, objects: int) -> Pieces | None:
        """Half as much at a time; None where that is least already. objects: that there are, or would be."""
        at_once = min(pieces.objects or objects, objects)
        fewer = replace(pieces, objects=max(at_once // 2, 1)) if at_once > 1 else None
        distances = self.halved(pieces.distances)
        return fewer if distances is None else replace(fewer or pieces, distances=distances)

    def halved(self, distances: int | None) -> int | None:
        """Half of the distances that reads hold at once (None: what suits the device); None where those are few."""
        return None

    @abstractmethod
    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that is held, as named tensors and as plain values that JSON can hold."""

    @abstractmethod
    def load(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """The reverse of `save`, in a state that is new: it goes on as the saved one would have."""


@dataclass(frozen=True)
class Setting:
    """A field of a family's settings, for people.

    label: with the paper's symbol. low, high: whole numbers that are of use, in steps of `step`; None for a yes or no.
    none: what None stands for, "" where a number is asked for; first: the number that is proposed in its place.
    note: what follows from it, in a few words.
    """

    name: str
    label: str
    low: int | None = None
    high: int = 0
    step: int = 1
    none: str = ""
    note: str = ""
    first: int = 20

    @property
    def is_flag(self) -> bool:
        return self.low is None

    def checked(self, value: Any) -> Any:
        """The value, of the field's type: a whole number that a program wrote as 3.0 counts as 3.

        Raises InputError for one that is of another kind, or outside of the limits.
        """
        if self.is_flag:
            if not isinstance(value, bool):
                raise InputError(f"{self.name} must be true or false, not {value!r}.")
            return value
        if value is None and self.none:
            return None
        assert self.low is not None  # it is a number
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or value != value // 1 or not self.low <= value <= self.high:
            other = f", or null for '{self.none}'" if self.none else ""
            raise InputError(
                f"{self.name} must be a whole number from {self.low} to {self.high}{other}, not {value!r}."
            )
        return int(value)


KEPT_FRAMES = Setting(
    "max_memory_frames", "Frames kept in memory", 2, 1000, none="all", note="of more, those in the middle go"
)


@dataclass(frozen=True)
class Family:
    """A family of networks.

    name: in code; title: for people. network: the class of its networks. config: a frozen dataclass of its settings,
    whose defaults are the released ones, or None for what suits the network; released: makes one from keywords by the
    names that the released code uses.
    recognises: whether names -> tensors are weights of this family; build: makes a network of them, in evaluation mode,
    float32, on the CPU; raises InputError for weights that are not complete and finite.
    open: a state for one video.
    untrained: makes a network of the released sizes with weights that mean nothing.
    good_at: when to take it, in a line for people. settings: the fields of `config` that people may set, in their order
    of importance. limit: what to do where memory grows with the video, in words that end a sentence.
    """

    name: str
    title: str
    network: type[Network]
    config: type
    released: Callable[..., Any]
    recognises: Callable[[Mapping[str, Any]], bool]
    build: Callable[[Mapping[str, Any]], Network]
    open: Callable[[Any, Any], VideoState]
    grid: Grid = Grid()
    untrained: Callable[[], Network] | None = None
    good_at: str = ""
    settings: tuple[Setting, ...] = ()
    limit: str = ""

    def open_at(self, size: tuple[int, int], model: Network, config: Any) -> VideoState:
        """A state for one video whose inference size, (h, w) before padding, is known."""
        state = self.open(model, config)
        state.size = size
        return state

    def chosen(self, values: Mapping[str, Any]) -> Any:
        """Settings by their fields' names, the others as by default. Raises InputError for an unknown one, for a value
        outside of its limits, and for a combination that cannot work."""
        known = {setting.name: setting for setting in self.settings}
        for name in values:
            if name not in known:
                choice = f"choose among {', '.join(known)}" if known else "it has none"
                raise InputError(f"{self.title} has no setting {str(name)[:40]!r}: {choice}.")
        return self.config(**{name: known[name].checked(value) for name, value in values.items()})


def kept_frames(frames: int, every: int, most: int | None, per_frame: int) -> Outlook:
    """The outlook of a memory that keeps every so many frames, but no more than `most` of them (None = all)."""
    last = (frames - 1) // every + 1  # are kept by the last frame, where there is no limit
    most = min(most or last, last)
    mean = sum(min(count, most) for count in range(1, last + 1)) / max(last, 1)
    return Outlook(mean * per_frame, most * per_frame, has_room=False)


def consolidated(config: Any, every: int, frames: int, per_frame: int) -> Outlook:
    """The outlook of working and long-term memory as in XMem, whose settings `config` has among its own; every: r."""
    working = long_term = total = most = count = 0
    for _ in range(0, frames, every):
        working, count = working + 1, count + 1
        most = max(most, working * per_frame + long_term)
        if config.long_term and working == config.max_working_frames:
            working = config.min_working_frames
            long_term = min(long_term + config.prototypes, config.max_long_term)
        total += working * per_frame + long_term
    return Outlook(total / max(count, 1), most, has_room=config.long_term)


def renamed(settings: Mapping[str, Any], names: Mapping[str, str], title: str) -> dict[str, Any]:
    """Settings by our names; names: ours by the released ones, all that there are. title: of the family, for people.
    Raises InputError for others."""
    for name, value in settings.items():
        if name not in names:
            raise InputError(f"{title} has no setting {name} = {value!r}: choose among {', '.join(names)}.")
    return {names[name]: value for name, value in settings.items()}
