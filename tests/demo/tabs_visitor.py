"""A visitor who has tracked two objects through a short real clip, for tests of the tabs."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import xmem
from demo.visit import studio
from demo.visit.keeping import Workspaces
from xmem.session import Session, TrackSettings

FRAMES = 12
KEY_FRAMES = (0, 3)
MEMORY = xmem.MemoryConfig(mem_every=3, min_working_frames=2, max_working_frames=3, prototypes=16, max_long_term=512)


def painting(width: int = 320, height: int = 180) -> np.ndarray:
    index = np.zeros((height, width), np.uint8)
    index[60:90, 40:120] = 1
    index[120:150, 200:260] = 2
    return index


def make_session(clip: Path, model: Path, folder: Path) -> Path:
    """A session of the clip, tracked with a tiny network; only the masks of key frames have a meaning."""
    session = Session.create(clip, folder, "My clip (1)")
    for frame in KEY_FRAMES:
        session.set_key_frame(frame, painting())
    for _ in session.propagate(TrackSettings(str(model), "cpu", 64, MEMORY, precision="float32")):  # on any processor
        pass
    return folder


def visit(spaces: Workspaces, session: Path | None, name: str = "visitor") -> SimpleNamespace:
    """A request of a visitor whose work is a copy of `session`."""
    request = SimpleNamespace(session_hash=name)
    if session is not None:
        key, workspace = spaces.new()
        shutil.copytree(session, workspace.session_folder)
        spaces.visit(name, key)
    return request


def last_of(steps: Iterable[tuple], kept: Path) -> tuple[list[tuple], list[Any]]:
    """All steps of a handler, and its last one with files copied to `kept`, as Gradio does before it asks for more."""
    seen, last = [], []
    for step in steps:
        seen.append(step)
        last = [_copied(value, kept) for value in step]
    return seen, last


def _copied(value: Any, kept: Path) -> Any:
    if isinstance(value, list):
        return [_copied(item, kept) for item in value]
    if isinstance(value, str) and value.startswith("/") and Path(value).is_file():
        return Path(shutil.copy(value, kept))
    return value


def own_workspaces(folder: Path, monkeypatch) -> Workspaces:
    made = Workspaces(folder / "server", folder)
    monkeypatch.setattr(studio, "workspaces", lambda: made)
    return made
