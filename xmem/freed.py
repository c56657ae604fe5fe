"""What a program frees for good, and what it keeps for the next frame."""

from __future__ import annotations

import ctypes
import os

KEPT_BYTES, OWN_BLOCK_BYTES = 512 << 20, 32 << 20  # freed memory that stays ours; blocks above that never do
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # names of glibc's settings


def keep_freed_memory() -> None:
    """Let glibc reuse what a frame frees for the next frame instead of returning it to the system in between.

    The system clears each page that it hands out again: without this, that was a sixth of xmem-lite's time on a CPU,
    and more than a third of the time of a process that reads a video. Processes forked from this one do so, too.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:  # other C libraries have other ways, or none
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, OWN_BLOCK_BYTES)
