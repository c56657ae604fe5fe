"""Short real clips and a tiny network, made once for all tests of the page."""

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from tiny_model import write_tiny_model

from demo import events


def write_clip(path: Path, width: int, height: int, frames: int = 12) -> Path:
    """A moving bright square on a gradient, H.264."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        ramp = np.linspace(30, 120, width, dtype=np.uint8)
        for i in range(frames):
            image = np.repeat(np.tile(ramp, (height, 1))[..., None], 3, axis=2)
            image[height // 3 : height // 2, 40 + 4 * i : 120 + 4 * i] = (230, 200, 40)
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                file.mux(packet)
        for packet in stream.encode(None):
            file.mux(packet)
    return path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "My clip (1).mp4", 320, 180)


@pytest.fixture
def workspaces(tmp_path, monkeypatch):
    """A root of its own for the workspaces of one test."""
    from demo.session import Workspaces

    made = Workspaces(tmp_path)
    monkeypatch.setattr(events, "workspaces", lambda: made)
    yield made
    made.close()
