"""Frames in any order are the very frames that the reader gives in time order, whatever the file."""

import json
import logging
import random
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.video.clips import HEIGHT, WIDTH, copy_clip, flat_images, read_all, write_clip
from tests.video.test_reader import FORMATS
from xmem.errors import InputError
from xmem.video import Frame, FrameAccess, FrameReader, VideoWriter, decode
from xmem.video import access as access_module

COUNT = 40
# Short groups of pictures, so that there is something to seek to; B-frames before and after key pictures.
GROUPS = {
    "libx264": {"g": "8", "bf": "3", "x264-params": "open-gop=1:b-adapt=0"},
    "libx265": {"g": "8", "x265-params": "log-level=none:open-gop=1:keyint=8:min-keyint=8"},
    "libvpx-vp9": {"g": "8"},
    "libvpx": {"g": "8"},
    "libsvtav1": {"g": "8"},
    "mpeg4": {"g": "8"},
    "mpeg2video": {"g": "8"},
    "ffv1": {"g": "8"},
}


def moving_images(count: int = COUNT) -> list[np.ndarray]:
    """A textured picture that drifts, so that frames are predicted from each other and all differ."""
    texture = np.random.default_rng(1).integers(0, 255, (HEIGHT // 4, WIDTH // 4, 3), np.uint8)
    texture = np.kron(texture, np.ones((4, 4, 1), np.uint8))
    return [np.roll(texture, (index, 2 * index), (0, 1)) for index in range(count)]


def assert_same(given: Frame, expected: Frame) -> None:
    assert np.array_equal(given.image, expected.image), f"image of frame {expected.index}"
    parts = ("index", "time", "duration", "name")
    assert [getattr(given, part) for part in parts] == [getattr(expected, part) for part in parts]


def assert_any_order(source: Path) -> None:
    """Random access, forwards and backwards, each with a fresh and with a stored index."""
    expected = read_all(source)
    order = random.Random(0).choices(range(len(expected)), k=30)
    with FrameAccess(source) as access:
        assert access.frame_count == len(expected)
        for index in order:
            assert_same(access.frame(index), expected[index])
        stored = json.loads(json.dumps(access.index))
    with FrameAccess(source, index=stored) as access:
        last = len(expected) - 1
        assert access.frame_count == len(expected)
        for given, frame in zip(access.backward(last, 0), reversed(expected), strict=True):
            assert_same(given, frame)
        for given, frame in zip(access.forward(0, last), expected, strict=True):
            assert_same(given, frame)
    with FrameReader(source) as reader:
        parts = ("time_base", "colour", "sample_aspect", "start", "audio_path")
        assert [getattr(access, part) for part in parts] == [getattr(reader, part) for part in parts]


@pytest.mark.parametrize(("suffix", "codec", "pix_fmt", "options"), FORMATS)
def test_every_format(tmp_path, suffix, codec, pix_fmt, options, monkeypatch):
    monkeypatch.setattr(access_module, "_HELD_BYTES", 0)  # runs of four
    options = {**options, **GROUPS.get(codec, {})}
    assert_any_order(
        write_clip(tmp_path / f"clip.{suffix}", moving_images(), codec=codec, pix_fmt=pix_fmt, options=options)
    )
