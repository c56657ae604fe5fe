"""The clip that most video tests start from."""

from pathlib import Path

import pytest

from tests.video.clips import write_clip


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """12 frames of H.264 with B-frames, 64x48, 25 per second, no sound."""
    return write_clip(tmp_path / "clip.mp4", options={"bf": "3", "b_strategy": "0", "qp": "10"})
