"""The clip that most video tests start from, and another process that reads for this one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.video.clips import write_clip
from xmem.video import isolated


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """12 frames of H.264 with B-frames, 64x48, 25 per second, no sound."""
    return write_clip(tmp_path / "clip.mp4", options={"bf": "3", "b_strategy": "0", "qp": "10"})


@pytest.fixture(scope="module")
def read_apart() -> Iterator[None]:
    """This process has files read by another, as the page has: see `tests.video.apart`."""
    isolated.isolate()
    yield
    isolated.isolate(False)
