"""Files are read by another process: with the same results, and whatever becomes of it, this one goes on."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.video.apart import APART, in_this_process
from tests.video.clips import flat_images, write_clip
from tests.video.test_access import assert_same, moving_images
from xmem import leaving
from xmem.errors import InputError
from xmem.limits import Limits, TooLarge, TooLong, limits, shrinking
from xmem.private import message_without
from xmem.video import FrameAccess, confinement, isolated

ROOT = Path(__file__).parents[2]
pytestmark = APART


def readers() -> list[int]:
    """The processes that read a file each; the next one has no bound on its memory yet."""
    waiting = isolated._MODE.waiting._process.pid
    children = Path(f"/proc/{waiting}/task/{waiting}/children").read_text().split()
    there = [child for child in children if Path(f"/proc/{child}/cmdline").read_bytes()]
    bounded = r"Max address space +\d+"
    return [int(child) for child in there if re.search(bounded, Path(f"/proc/{child}/limits").read_text())]


def gone(pid: int) -> bool:
    """Whether a process ends; waits for it."""
    pause = threading.Event()
    for _ in range(600):
        if not Path(f"/proc/{pid}").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes():
            return True
        pause.wait(0.05)
    return False


def folder_of_images(folder: Path) -> Path:
    folder.mkdir()
    for index, image in enumerate(moving_images(5)):
        Image.fromarray(image).save(folder / f"{index}.png")
    return folder


def sources(folder: Path) -> dict[str, Path]:
    clip = write_clip(folder / "groups.mp4", moving_images(20), options={"g": "8", "bf": "3"})
    (folder / "cut.mp4").write_bytes(clip.read_bytes()[:-900])
    whole = write_clip(folder / "whole.ts", moving_images(12)).read_bytes()
    (folder / "cut.ts").write_bytes(whole[: len(whole) * 2 // 3])
    return {
        "mp4": clip,
        "avi": write_clip(folder / "old.avi", moving_images(9), codec="mpeg4"),
        "gif": write_clip(folder / "a.gif", flat_images(5), codec="gif", pix_fmt="rgb8"),
        "a damaged file": folder / "cut.ts",
        "images": folder_of_images(folder / "images"),
    }


@pytest.mark.parametrize("kind", ["mp4", "avi", "gif", "a damaged file", "images"])
def test_the_same_frames_come_in_any_order(tmp_path, kind):
    path = sources(tmp_path)[kind]
    with in_this_process(lambda: FrameAccess(path)) as plain, FrameAccess(path) as access:
        count = plain.frame_count
        assert (access.info, access.index, access.frame_count) == (plain.info, plain.index, count)
        about = ("time_base", "colour", "sample_aspect", "start", "audio_path")
        assert [getattr(access, name) for name in about] == [getattr(plain, name) for name in about]
        for given, expected in zip(access.forward(1, count - 1), plain.forward(1, count - 1), strict=True):
            assert_same(given, expected)
            if expected.index == 3:  # in between
                assert_same(access.frame(0), plain.frame(0))
        assert access.finished
        for given, expected in zip(access.backward(count - 2, 0), plain.backward(count - 2, 0), strict=True):
            assert_same(given, expected)
        first = next(iter(access.backward(count - 1, 0)))  # left early
        assert first.index == count - 1
        assert_same(access.frame(2), plain.frame(2))
        access.close()
        assert_same(access.frame(1), plain.frame(1)), "it opens again"


@pytest.mark.parametrize("apart", [True, False])
def test_pictures_are_made_where_they_are_wanted(clip, apart):
    rooms = []

    def room(shape: tuple[int, ...]) -> np.ndarray:
        rooms.append(np.zeros(shape, np.uint8))
        return rooms[-1]

    with FrameAccess(clip) if apart else in_this_process(lambda: FrameAccess(clip)) as access:
        plain = [frame.image for frame in access.forward(0, 11)]
        for given in (access.forward(0, 11, room), reversed(list(access.backward(11, 0, room)))):
            for frame, expected in zip(given, plain, strict=True):
                assert any(np.shares_memory(frame.image, each) for each in rooms)
                assert np.array_equal(frame.image, expected)


def page_faults(pid: int) -> int:
    """How often the system has handed pages to a process and its threads."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[7])


def test_pictures_are_decoded_in_memory_that_the_one_before_has_left(tmp_path):
    """Each page that the system hands out again is cleared first, which took more than a third of the time."""
    images = [np.full((480, 848, 3), 20 + 3 * i, np.uint8) for i in range(40)]
    with FrameAccess(write_clip(tmp_path / "clip.mp4", images)) as access:
        frames = access.forward(0, 39)
        for _ in range(10):
            next(frames)
        (reader,) = readers()
        before = page_faults(reader)
        for _ in range(20):
            next(frames)
        pages = 480 * 848 * 3 // os.sysconf("SC_PAGESIZE")
        assert page_faults(reader) - before < 20 * pages / 10


def test_what_is_known_of_a_file_starts_no_process(clip):
    with FrameAccess(clip) as access:
        table = json.loads(json.dumps(access.index))
        (reader,) = readers()
    assert gone(reader)
    with FrameAccess(clip, table) as access:
        assert access.frame_count == 12 and access.info.width == 64 and access.index == table
        assert not readers()
        assert access.frame(7).index == 7
        assert len(readers()) == 1


def test_refusals_and_warnings_come_through(tmp_path, caplog):
    with pytest.raises(InputError, match=r"'words.mp4' is not a video"):
        FrameAccess((tmp_path / "words.mp4", (tmp_path / "words.mp4").write_text("words"))[0])
    caplog.set_level(logging.INFO, "xmem")
    with FrameAccess(write_clip(tmp_path / "old.avi", codec="mpeg4")):
        assert "old.avi is decoded once" in caplog.text
        assert message_without(caplog.records[-1]) == "… is decoded once, since its packets do not tell its frames."


def test_a_part_of_a_video_is_taken_and_what_is_too_long_says_what_fits(clip, monkeypatch):
    with FrameAccess(clip, most=7) as access:
        assert (access.frame_count, access.info.frame_count) == (7, 7)
        assert [frame.index for frame in access.forward(0, 6)] == list(range(7))
        table = access.index
    with FrameAccess(clip, table) as access:
        assert access.frame_count == 7 and access.frame(6).index == 6
    isolated.isolate(False)
    monkeypatch.setenv("XMEM_LIMIT_FRAMES", "7")
    isolated.isolate()
    with pytest.raises(TooLong, match="more than the 7 frames") as refused:
        FrameAccess(clip)
    assert not refused.value.by_time
    isolated.isolate(False)
    monkeypatch.undo()
    isolated.isolate()


def test_frames_that_are_too_large_come_smaller_from_the_other_process(tmp_path, monkeypatch):
    """There the larger bound holds, and nothing of that size is handed over."""
    clip = write_clip(tmp_path / "large.mp4", flat_images(4, 96, 64))
    isolated.isolate(False)
    monkeypatch.setenv("XMEM_LIMIT_FRAME_PIXELS", "2000")
    limits.cache_clear()
    isolated.isolate()
    try:
        with pytest.raises(TooLarge) as refused:
            FrameAccess(clip)
        assert refused.value.offer == "Make it smaller (54x36)"
        with shrinking(), FrameAccess(clip) as access:
            assert (access.info.width, access.info.height) == (54, 36)
            assert access.frame(3).image.shape == (36, 54, 3)
    finally:
        isolated.isolate(False)
        monkeypatch.undo()
        limits.cache_clear()
        isolated.isolate()


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGKILL])
def test_a_reader_that_breaks_down_is_a_sentence(clip, how):
    with FrameAccess(clip) as access:
        assert access.frame(0).index == 0
        (reader,) = readers()
        os.kill(reader, how)
        assert gone(reader)
        with pytest.raises(InputError, match=r"'clip.mp4' broke off the program that reads videos"):
            list(access.forward(1, 11))
        assert access.frame(3).index == 3, "another one takes its place"


def test_a_reader_that_hangs_is_ended(clip):
    with FrameAccess(clip) as access:
        access.frame(0)
        (reader,) = readers()
        os.kill(reader, signal.SIGSTOP)
        access._frames._reader._other._connection.settimeout(0.05)
        with pytest.raises(InputError, match="more memory or time than allowed"):
            access.frame(1)
        assert gone(reader)


def test_a_reader_for_which_nobody_waits_is_ended(clip, monkeypatch):
    """A long video may take a minute to open."""
    monkeypatch.setattr(leaving, "_ASK_SECONDS", 0)

    def check() -> None:
        raise InputError("The visit is over.")

    with FrameAccess(clip) as access:
        access.frame(0)
        (reader,) = readers()
        os.kill(reader, signal.SIGSTOP)
        with pytest.raises(InputError, match="visit is over"), leaving.while_wanted(check):
            access.frame(1)
        assert gone(reader)


def test_a_reader_has_so_much_memory_and_time(clip, monkeypatch):
    few = replace(Limits(), reader_bytes=1_000_000)
    monkeypatch.setattr(isolated, "limits", lambda: few)
    with pytest.raises(InputError, match=r"more memory or time|No picture can be decoded"):
        FrameAccess(clip)
    monkeypatch.undo()
    with FrameAccess(clip) as access:
        assert access.frame_count == 12


def test_where_the_process_that_waits_is_gone_another_takes_its_place(clip):
    waiting = isolated._MODE.waiting._process
    waiting.kill()
    waiting.wait()
    with FrameAccess(clip) as access:
        assert access.frame_count == 12
    assert isolated._MODE.waiting._process.pid != waiting.pid


@pytest.mark.parametrize(
    "lie",
    [
        {"shape": [4000, 4000, 3]},
        {"shape": "wide"},
        {"time": "1/0"},
        {"index": None},
        {"count": "many"},
        {"said": 5},
        {"said": [["loud", 1, ""]]},
        {"time": []},
    ],
)
def test_what_the_other_process_says_is_not_trusted(clip, monkeypatch, lie):
    """By then, it may be somebody else who speaks."""
    with FrameAccess(clip) as access:
        access.frame(0)
        honest = isolated.receive
        monkeypatch.setattr(isolated, "receive", lambda *args: (honest(*args)[0] | lie, []))
        with pytest.raises(InputError, match="broke off"):
            access.frame(1)


def test_an_endless_answer_is_not_waited_for(clip, monkeypatch):
    with FrameAccess(clip) as access:
        monkeypatch.setattr(isolated, "_MAX_ANSWER", 20)
        with pytest.raises(InputError, match="broke off"):
            access.frame(1)


def test_pictures_are_the_callers_own(clip):
    with FrameAccess(clip) as access:
        first = access.frame(0).image
        kept = first.copy()
        list(access.forward(1, 11))
        np.testing.assert_array_equal(first, kept)
    first[:] = 0  # also when the file is closed


def confined(*attempts: str) -> list[str]:
    """What becomes of expressions in a process that gave up its rights: "done", the error, or how it was ended."""
    program = f"""
        import json, os, signal, socket, sys, threading, types
        package = types.ModuleType("xmem"); package.__path__ = [{str(ROOT / "xmem")!r}]; sys.modules["xmem"] = package
        from xmem.video import confinement

        def without_end():
            confinement.allow_seconds(0)
            while True:
                pass

        def in_a_thread(work):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()

        confinement.confine()
        confinement.bound_memory(300_000_000)
        for attempt in json.loads(sys.argv[1]):
            try:
                eval(attempt)
                print("done", flush=True)
            except Exception as error:
                print(type(error).__name__, flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), json.dumps(attempts)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return done.stdout.split() + ([f"ended by {-done.returncode}"] if done.returncode else [])


@pytest.mark.skipif(confinement.pyseccomp is None, reason="there is no libseccomp here")
def test_a_reader_reaches_no_network_no_other_program_and_changes_no_file(tmp_path):
    kept = tmp_path / "kept"
    kept.write_text("kept")
    (tmp_path / "empty").mkdir()
    attempts = (
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
        "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
        "socket.socketpair()",
        "os.execv('/bin/true', ['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.fork()",
        "os.kill(os.getppid(), 0)",
        f"open({str(tmp_path / 'new')!r}, 'w')",
        f"open({str(kept)!r}, 'r+')",
        f"open({str(kept)!r}, 'a')",
        f"os.unlink({str(kept)!r})",
        f"os.rename({str(kept)!r}, {str(tmp_path / 'other')!r})",
        f"os.mkdir({str(tmp_path / 'folder')!r})",
        f"os.rmdir({str(tmp_path / 'empty')!r})",
        f"os.symlink('x', {str(tmp_path / 'link')!r})",
        f"os.link({str(kept)!r}, {str(tmp_path / 'link')!r})",
        f"os.chmod({str(kept)!r}, 0)",
        f"os.truncate({str(kept)!r}, 0)",
    )
    assert dict(zip(attempts, confined(*attempts), strict=True)) == dict.fromkeys(attempts, "PermissionError")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "kept"] and kept.read_text() == "kept"


def test_a_reader_reads_and_has_threads_but_no_memory_or_time_without_end():
    attempts = f"open({__file__!r}).read()", "in_a_thread(print)", "bytearray(600_000_000)", "without_end()"
    assert confined(*attempts) == ["done", "done", "MemoryError", f"ended by {signal.SIGXCPU.value}"]
