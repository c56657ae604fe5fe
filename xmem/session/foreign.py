"""A session from elsewhere: whether all in its folder is what this program writes, before anybody works on it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from xmem.errors import InputError
from xmem.limits import limits
from xmem.render.masks import read_index_mask
from xmem.session.keymasks import file_of
from xmem.session.project import MAX_HISTORY, Project
from xmem.session.results import Results
from xmem.session.schema import memory_as_json
from xmem.session.settings import TrackSettings
from xmem.video import VideoInfo

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,2})?", re.ASCII)
_MAX_NUMBER = 1_000_000  # of the memories' settings: far beyond any that is of use
_ADVICE = "save the bundle again"


def check_files(folder: Path, names: Iterable[str]) -> None:
    """Raise InputError unless all of these lie in `folder` itself."""
    for name in names:
        path = (folder / name).resolve()
        if not path.exists() or folder.resolve() not in path.parents:
            raise InputError(f"The bundle's project names a file that is not in it: {_ADVICE}.")


def check_session(folder: Path, project: Project, cuts: Sequence[int], info: VideoInfo) -> None:
    """Raise InputError where files of a session contradict its project, its video or the limits.

    info: of the video, with its exact count of frames.
    """
    if info.frame_count != project.frame_count or max(cuts, default=0) >= project.frame_count:
        raise InputError(f"The bundle's video does not have the frames that its project names: {_ADVICE}.")
    _check_settings(project.settings)
    _check_masks(folder, project, (info.height, info.width))
    results = Results(folder / "spans", project.frame_count).all
    if len(results) > 4 * limits().key_frames:
        raise InputError(f"The bundle holds {len(results)} results, more than its key frames can have: {_ADVICE}.")
    for result in results:
        result.check(info.width, info.height, project.frame_count)


def _check_settings(settings: TrackSettings) -> None:
    values = memory_as_json(settings.memory) or {}
    numbers = [value for value in values.values() if type(value) is int]
    if max(numbers, default=0) > _MAX_NUMBER or not _DEVICE.fullmatch(settings.device):
        raise InputError(f"The bundle's settings are not those of any run: {_ADVICE}.")


def _check_masks(folder: Path, project: Project, shape: tuple[int, int]) -> None:
    """Of all key frames, also those that undo and redo lead to."""
    if len(project.masks) > limits().key_frames + 2 * MAX_HISTORY:
        raise InputError(f"The bundle holds {len(project.masks)} masks, more than its key frames can have: {_ADVICE}.")
    for name in project.masks:
        if read_index_mask(folder / file_of(name)).shape != shape:
            raise InputError(f"The bundle's masks do not have the size of its video: {_ADVICE}.")
