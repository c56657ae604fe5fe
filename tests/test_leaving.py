"""Work for which nobody waits any more ends in mid-work, where it gives no sign of its own."""

import zipfile

import numpy as np
import pytest

from tests.demo.demo_clips import write_clip
from tests.tiny_model import tiny_state
from xmem import InputError, Session, leaving
from xmem.networks.xmem import load_state
from xmem.render.masks import write_index_mask
from xmem.review.preflight import estimate
from xmem.scoring.quality import score
from xmem.session import TrackSettings
from xmem.video import FrameAccess


class Left(Exception):
    pass


@pytest.fixture(autouse=True)
def at_once(monkeypatch) -> None:
    monkeypatch.setattr(leaving, "_ASK_SECONDS", 0)


def left(work) -> None:
    def check() -> None:
        raise Left

    work()
    with pytest.raises(Left), leaving.while_wanted(check):
        work()
    work()


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "clip.mp4", 64, 48)


def test_without_anybody_to_ask_nothing_is_asked():
    leaving.ask()
    with leaving.while_wanted(lambda: None):
        leaving.ask()


def test_a_video_that_is_being_opened(clip, tmp_path):
    left(lambda: FrameAccess(clip).close())
    stream = tmp_path / "clip.ts"  # whose packets do not tell its frames
    import av

    with av.open(str(clip)) as source, av.open(str(stream), "w") as target:
        copied = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
    left(lambda: FrameAccess(stream).close())


def test_a_result_that_is_being_scored(tmp_path):
    mask = np.zeros((48, 64), np.uint8)
    mask[10:20, 10:20] = 1
    with zipfile.ZipFile(tmp_path / "truth.zip", "w") as archive:
        for frame in range(3):
            write_index_mask(tmp_path / "mask.png", mask)
            archive.write(tmp_path / "mask.png", f"{frame:05d}.png")
    names = [f"{frame:05d}" for frame in range(3)]
    left(lambda: score(lambda frame: mask, names, tmp_path / "truth.zip", []))


def test_a_run_that_is_being_estimated(clip, tmp_path):
    session, network = Session.create(clip, tmp_path / "session"), load_state(tiny_state())
    left(lambda: estimate(session, TrackSettings(size=48, device="cpu"), network))


def test_half_a_second_lies_between_questions(monkeypatch):
    monkeypatch.setattr(leaving, "_ASK_SECONDS", 1e9)

    def check() -> None:
        raise InputError("asked too often")

    with leaving.while_wanted(check):
        for _ in range(100):
            leaving.ask()
