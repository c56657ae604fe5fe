"""The masks of key frames on disk, each under a name that its content gives it: the same mask is kept once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from pathlib import Path

import numpy as np

from xmem.render.masks import read_index_mask, write_index_mask

FOLDER = "keyframes"


class KeyMasks:
    """Those of the session in `folder`."""

    def __init__(self, folder: Path):
        self._folder = folder / FOLDER

    def create(self) -> None:
        """Make the folder, in a new session."""
        self._folder.mkdir()

    def store(self, mask: np.ndarray) -> str:
        """Keep an index mask uint8 [H, W]; the name to read it by."""
        digest = hashlib.sha256(repr(mask.shape).encode() + mask.tobytes()).hexdigest()[:24]
        path = self._folder / f"{digest}.png"
        if path.exists():
            os.utime(path)  # as good as new: see `prune`
        else:
            temporary = path.with_suffix(".part")
            write_index_mask(temporary, mask)
            os.replace(temporary, path)
        return digest

    def read(self, name: str) -> np.ndarray:
        """Index mask uint8 [H, W]."""
        return read_index_mask(self._folder / f"{name}.png")

    def prune(self, kept: Collection[str], since: float) -> None:
        """Remove the masks of other names that were stored before `since` (seconds since 1970)."""
        for path in self._folder.glob("*.png"):
            if path.stem not in kept and path.stat().st_mtime < since:
                path.unlink()


def file_of(name: str) -> str:
    """The file of a mask, relative to the session's folder."""
    return f"{FOLDER}/{name}.png"
