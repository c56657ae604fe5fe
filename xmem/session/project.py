"""What a piece of work is made of, as plain values, and their form in project.json."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, TypeAdapter

from xmem.errors import InputError
from xmem.limits import check_key_frames
from xmem.render.palette import OBJECT_COLORS
from xmem.render.post import PostProcessing
from xmem.render.styles import Style
from xmem.session.schema import FrameNumber, MaskName, ObjectId, VideoName, read_json
from xmem.session.settings import TrackSettings

VERSION = 1
MAX_HISTORY = 100  # corrections that can be undone
MAX_DISMISSED = 10_000  # suggestions that a session remembers as looked at
MAX_NAME = 40  # characters of an object's name
MAX_TITLE = 255  # characters of a video's name
_MAX_BYTES = 32 << 20  # of project.json


@dataclass(frozen=True)
class SessionObject:
    """An object that is followed. id: in index masks. color: place in `palette.OBJECT_COLORS`. visible: in results."""

    id: ObjectId
    name: Annotated[str, StringConstraints(max_length=MAX_NAME, pattern=r"^\S+( \S+)*$")]
    color: Annotated[int, Field(ge=0, lt=len(OBJECT_COLORS))]
    visible: bool = True


@dataclass(frozen=True)
class KeyFrame:
    """A frame whose mask a person gave. mask: name of its file (a digest); objects: ids with pixels in it."""

    frame: FrameNumber
    mask: MaskName
    objects: Annotated[tuple[ObjectId, ...], Field(max_length=255)]


@dataclass(frozen=True)
class Edit:
    """What undo and redo go through."""

    objects: Annotated[tuple[SessionObject, ...], Field(max_length=255)] = ()
    key_frames: tuple[KeyFrame, ...] = ()  # ascending


@dataclass(frozen=True)
class Project:
    """All of project.json. video: name in the session's folder; name: for people and downloads.

    first, last: the trimmed range of frames, inclusive. next_object: ids are never used twice. dismissed: frame and
    object of suggestions that a person found to be right.
    """

    video: VideoName
    name: Annotated[str, StringConstraints(max_length=MAX_TITLE)]
    frame_count: FrameNumber
    first: FrameNumber
    last: FrameNumber
    edit: Edit = Edit()
    past: Annotated[tuple[Edit, ...], Field(max_length=MAX_HISTORY)] = ()
    future: Annotated[tuple[Edit, ...], Field(max_length=MAX_HISTORY)] = ()
    next_object: Annotated[int, Field(ge=1, le=256)] = 1
    settings: TrackSettings = field(default_factory=TrackSettings)
    style: Style = field(default_factory=Style)
    post: PostProcessing = field(default_factory=PostProcessing)
    dismissed: Annotated[tuple[tuple[FrameNumber, ObjectId], ...], Field(max_length=MAX_DISMISSED)] = ()
    version: int = VERSION

    @property
    def masks(self) -> set[str]:
        """Names of the masks of all key frames, also of those that undo and redo lead to."""
        return {key.mask for edit in (self.edit, *self.past, *self.future) for key in edit.key_frames}

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


_FORM = TypeAdapter(Project)


def write_project(project: Project, path: Path) -> None:
    """Write project.json in one replace."""
    temporary = path.with_suffix(".part")
    values = asdict(project) | {"settings": project.settings.as_json()}
    temporary.write_text(json.dumps(values, indent=1))
    os.replace(temporary, path)


def read_project(path: Path) -> Project:
    """Read project.json. Raises InputError where it is missing, damaged, of another version, or contradicts itself."""
    project = read_json(path, _FORM, "The project file", _MAX_BYTES)
    if project.version != VERSION:
        raise InputError(f"The project is of version {project.version}, and this program reads version {VERSION}.")
    if not project.first <= project.last < project.frame_count:
        raise InputError("The project file is damaged (its range of frames is none): start again from the video.")
    for edit in (project.edit, *project.past, *project.future):
        _check(edit, project)
    return project


def _check(edit: Edit, project: Project) -> None:
    """Raise InputError for corrections that no session makes."""
    ids = [item.id for item in edit.objects]
    frames = [key.frame for key in edit.key_frames]
    shown = {i for key in edit.key_frames for i in key.objects}
    is_sound = len(set(ids)) == len(ids) and max(ids, default=0) < project.next_object and shown <= set(ids)
    if not is_sound or frames != sorted(set(frames)) or max(frames, default=0) >= project.frame_count:
        raise InputError("The project file is damaged (its key frames contradict it): start again from the video.")
    check_key_frames(len(frames))
