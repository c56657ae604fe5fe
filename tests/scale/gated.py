"""What workers do in tests: they stand still at a frame until somebody has seen it, and save each frame."""

import os
import time
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from xmem.scale.clips import Clip, ClipProgress, follow
from xmem.session import TrackSettings, suspended

GATE, SEEN_AT = "go on", 3

real = pytest.mark.skipif(
    not os.environ.get("XMEM_TEST_RAY") or find_spec("ray") is None,
    reason="Ray's processes take long to begin: pip install '.[ray]', and XMEM_TEST_RAY=1",
)


def gated(clip: Clip, settings: TrackSettings) -> Iterator[ClipProgress]:
    """`follow`, which waits at a frame until there is a file GATE in the clip's folder."""
    suspended.SAVE_SECONDS = 0.0
    for step in follow(clip, settings):
        yield step
        while step.done == SEEN_AT and not (clip.own / GATE).exists():
            time.sleep(0.01)
