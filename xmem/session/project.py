"""What a piece of work is made of, as plain values, and their form in project.json."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from xmem.config import MemoryConfig
from xmem.device import PRECISIONS
from xmem.errors import InputError
from xmem.limits import MIN_SIZE
from xmem.render.post import PostProcessing
from xmem.render.styles import Style

VERSION = 1
DIRECTIONS = ("both", "forward", "backward")
MAX_HISTORY = 100  # corrections that can be undone


@dataclass(frozen=True)
class SessionObject:
    """An object that is followed. id: in index masks. color: place in `palette.OBJECT_COLORS`. visible: in results."""

    id: int
    name: str
    color: int
    visible: bool = True


@dataclass(frozen=True)
class KeyFrame:
    """A frame whose mask a person gave. mask: name of its file (a digest); objects: ids with pixels in it."""

    frame: int
    mask: str
    objects: tuple[int, ...]


@dataclass(frozen=True)
class TrackSettings:
    """How objects are followed.

    model: checkpoint name or path; device: auto, cpu, cuda or mps; size: shorter side for inference in pixels, None for
    the video's own. direction: "both" blends a forward and a backward pass between key frames; "forward" and "backward"
    follow from each key frame one way only. pause_at_cuts: after a shot cut nothing is remembered until the objects are
    certain again. precision: of the network: auto, float32, float16 or bfloat16.
    Raises InputError for an unknown direction or precision, and for a size that is no whole number of at least 16.
    """

    model: str = "xmem-lite"
    device: str = "auto"
    size: int | None = 480
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    direction: str = "both"
    pause_at_cuts: bool = False
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise InputError(f"The direction must be one of {', '.join(DIRECTIONS)}, not {self.direction!r}.")
        if self.precision not in PRECISIONS:
            raise InputError(f"The precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}.")
        if self.size is not None and (type(self.size) is not int or self.size < MIN_SIZE):
            raise InputError(f"The inference size must be a whole number of at least {MIN_SIZE}, not {self.size!r}.")

    @property
    def signature(self) -> dict[str, Any]:
        """All that a result depends on, in JSON's types; without the device, and the precision where any will do."""
        values = asdict(self)
        del values["device"], values["direction"]
        if self.precision == "auto":  # also: results of projects that knew no precision stay theirs
            del values["precision"]
        return values


@dataclass(frozen=True)
class Edit:
    """What undo and redo go through."""

    objects: tuple[SessionObject, ...] = ()
    key_frames: tuple[KeyFrame, ...] = ()  # ascending


@dataclass(frozen=True)
class Project:
    """All of project.json. video: name in the session's folder; name: for people and downloads.

    first, last: the trimmed range of frames, inclusive. next_object: ids are never used twice.
    """

    video: str
    name: str
    frame_count: int
    first: int
    last: int
    edit: Edit = Edit()
    past: tuple[Edit, ...] = ()
    future: tuple[Edit, ...] = ()
    next_object: int = 1
    settings: TrackSettings = field(default_factory=TrackSettings)
    style: Style = field(default_factory=Style)
    post: PostProcessing = field(default_factory=PostProcessing)

    def edited(self, edit: Edit) -> Project:
        """With a new state of the corrections, and the present one to go back to."""
        if edit == self.edit:
            return self
        newest = max((item.id for item in edit.objects), default=0)
        return replace(
            self,
            edit=edit,
            past=(*self.past, self.edit)[-MAX_HISTORY:],
            future=(),
            next_object=max(self.next_object, newest + 1),
        )

    def undone(self) -> Project:
        return replace(self, edit=self.past[-1], past=self.past[:-1], future=(self.edit, *self.future))

    def redone(self) -> Project:
        return replace(self, edit=self.future[0], future=self.future[1:], past=(*self.past, self.edit))


def write_project(project: Project, path: Path) -> None:
    """Write project.json in one replace."""
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps({"version": VERSION} | asdict(project), indent=1))
    os.replace(temporary, path)


def read_project(path: Path) -> Project:
    """Read project.json. Raises InputError where it is missing, damaged or of another version."""
    try:
        values = json.loads(path.read_text())
        version = values.pop("version")
        if version != VERSION:
            raise InputError(f"The project is of version {version}, and this program reads version {VERSION}.")
        return _project(values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError("The project file is missing or damaged: start again from the video.") from error


def _project(values: dict[str, Any]) -> Project:
    settings = values["settings"]
    settings = TrackSettings(**(settings | {"memory": MemoryConfig(**settings["memory"])}))
    parts = {
        "edit": _edit(values["edit"]),
        "past": tuple(_edit(item) for item in values["past"]),
        "future": tuple(_edit(item) for item in values["future"]),
        "settings": settings,
        "style": Style(**values["style"]),
        "post": PostProcessing(**values["post"]),
    }
    return Project(**(values | parts))


def _edit(values: dict[str, Any]) -> Edit:
    objects = tuple(SessionObject(**item) for item in values["objects"])
    keys = tuple(KeyFrame(item["frame"], item["mask"], tuple(item["objects"])) for item in values["key_frames"])
    return Edit(objects, keys)
