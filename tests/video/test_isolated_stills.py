"""Pictures from elsewhere are decoded by another process: with the same results, and whatever becomes of it, this one
goes on."""

import io
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.hostile import MEGABYTE, memory_rise, png
from tests.render.test_hostile import kinds
from tests.scoring.test_quality import NAMES, truths, zip_of
from tests.session.scene import images, square
from tests.video.apart import APART, in_this_process
from tests.video.clips import write_clip
from tests.video.test_isolated import gone, readers
from xmem import Session
from xmem.errors import InputError
from xmem.limits import Limits
from xmem.render.masks import read_index_mask, read_mask, write_index_mask
from xmem.scoring.quality import score
from xmem.video import isolated
from xmem.video.images import load_image
from xmem.video.stills import StillReader, read_still

pytestmark = APART
WORDS = "The image", "give a PNG"


@pytest.fixture
def nothing_here(monkeypatch):
    """This process opens no picture."""

    def opened(*_args, **_named):
        raise AssertionError("a picture is decoded in the server's own process")

    monkeypatch.setattr(Image, "open", opened)


def test_pictures_of_every_kind_are_the_same(tmp_path):
    with StillReader() as reader:
        for name, data in kinds().items():
            path = tmp_path / name
            path.write_bytes(data)
            for upright in (False, True):
                expected = in_this_process(lambda path=path, up=upright: read_still(path, *WORDS, upright=up))
                for source in (path, io.BytesIO(data)):
                    found = reader.read(source, *WORDS, upright=upright)
                    assert (found.mode, found.size) == (expected.mode, expected.size)
                    assert found.convert("RGBA").tobytes() == expected.convert("RGBA").tobytes(), name
                    assert found.tobytes() == expected.tobytes() and found.getpalette() == expected.getpalette()
        assert len(readers()) == 1, "one process for all"
    for name in kinds():
        np.testing.assert_array_equal(
            load_image(tmp_path / name), in_this_process(lambda name=name: load_image(tmp_path / name))
        )


def test_masks_known_masks_and_pictures_of_bundles_are_not_decoded_here(tmp_path, nothing_here):
    mask = tmp_path / "mask.jpg"
    mask.write_bytes(kinds()["colours.jpg"])
    assert read_mask(mask, 48, 32).objects
    truth = zip_of(tmp_path / "truth.zip", truths())
    report = score(lambda frame: truths()[frame], NAMES, truth)
    assert report.jf == 1 and report.truth(3).any() and all(map(gone, readers()))
    session = Session.create(write_clip(tmp_path / "clip.mp4", images(3)), tmp_path / "session")
    session.set_key_frame(0, square(4))
    (key,) = (tmp_path / "session" / "keyframes").iterdir()
    key.write_bytes(_as_others_save(square(4)))
    opened = Session.open_bundle(session.save_bundle(tmp_path / "bundle.zip"), tmp_path / "opened")
    np.testing.assert_array_equal(opened.mask(0), square(4))


def _as_others_save(mask: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG", optimize=True)
    return file.getvalue()


def test_own_masks_need_no_image_library(tmp_path, nothing_here):
    write_index_mask(tmp_path / "mask.png", square(4))
    np.testing.assert_array_equal(read_index_mask(tmp_path / "mask.png"), square(4))
    assert all(map(gone, readers()))


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGKILL])
def test_a_reader_that_breaks_down_is_a_sentence_and_another_takes_its_place(tmp_path, how):
    path = tmp_path / "a.png"
    path.write_bytes(kinds()["grey.png"])
    with StillReader() as still:
        still.read(path, *WORDS)
        (reader,) = readers()
        os.kill(reader, how)
        assert gone(reader)
        with pytest.raises(InputError, match=r"The image broke off the program that reads images.*; give a PNG"):
            still.read(path, *WORDS)
        assert still.read(path, *WORDS).size == (48, 32)


def test_damage_and_what_is_no_picture_are_refused_in_the_same_words(tmp_path):
    path = tmp_path / "a.png"
    for data in (b"", b"words", kinds()["grey.png"][:-40]):
        path.write_bytes(data)
        for attempt in (lambda: read_still(path, *WORDS), lambda: in_this_process(lambda: read_still(path, *WORDS))):
            with pytest.raises(InputError, match=r"^The image is not a readable image; give a PNG\.$"):
                attempt()
    with pytest.raises(InputError, match="readable"):
        read_still(tmp_path / "missing.png", *WORDS)


def test_a_bomb_takes_memory_neither_here_nor_there(tmp_path, monkeypatch):
    def refused(side: int, reason: str) -> None:
        with pytest.raises(InputError, match=reason):
            read_still(png(tmp_path / "a.png", side, side), *WORDS)

    assert memory_rise(lambda: refused(13_000, "13000x13000")) < 20 * MEGABYTE
    few = replace(Limits(), reader_bytes=1_000_000)
    monkeypatch.setattr(isolated, "limits", lambda: few)
    assert memory_rise(lambda: refused(5000, "more memory or time than allowed|not a readable image")) < 40 * MEGABYTE


@pytest.mark.parametrize(
    "lie",
    [
        {"mode": "RGBA"},
        {"mode": "none"},
        {"size": [4000, 4000]},
        {"size": "wide"},
        {"palette": [300]},
        {"palette": "x"},
        {"transparency": "x"},
        {"transparency": [[]]},
        {"said": 5},
    ],
    ids=str,
)
def test_what_the_other_process_says_is_not_trusted(tmp_path, monkeypatch, lie):
    path = Path(tmp_path / "a.png")
    path.write_bytes(kinds()["palette.png"])
    honest = isolated.receive
    calls = iter((False, False, True))  # the beginning, the header, the pixels

    def receive(*args):
        answer, descriptors = honest(*args)
        return answer | (lie if next(calls) else {}), descriptors

    monkeypatch.setattr(isolated, "receive", receive)
    with pytest.raises(InputError, match="broke off"):
        read_still(path, *WORDS)
