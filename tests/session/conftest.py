"""A short real clip and the network that comes along."""

from pathlib import Path

import pytest

from tests.session.scene import images
from tests.video.clips import write_clip
from xmem.session import Session


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip one.mp4", images(), options={"crf": "8", "g": "7"})


@pytest.fixture
def session(clip, tmp_path):
    return Session.create(clip, tmp_path / "work")


@pytest.fixture(scope="session")
def network():
    """xmem-lite: small enough to be run, and its masks mean something."""
    from xmem import load_model

    return load_model("xmem-lite", "cpu")
