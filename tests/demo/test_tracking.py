"""Runs are followed from a thread; networks are shared and bounded."""

import threading
import time

import pytest

from demo.html.progress import Progress
from demo.runs import models
from demo.runs.follow import HEARTBEAT_SECONDS, follow


def test_the_last_item_is_never_lost_however_quick_the_work():
    for count in (1, 2, 50):
        assert list(follow(iter_of(count)))[-1] == count - 1


def iter_of(count):
    yield from range(count)


def test_slow_work_gives_a_sign_of_life_within_a_second():
    assert HEARTBEAT_SECONDS < 1
    release = threading.Event()

    def slow():
        release.wait(60)
        yield "done"

    steps = follow(slow())
    assert next(steps) is None, "the work cannot have done anything yet"
    release.set()
    assert list(steps)[-1] == "done"


def test_closing_closes_the_work_after_its_next_item(monkeypatch):
    monkeypatch.setattr("demo.runs.follow.HEARTBEAT_SECONDS", 0.01)
    closed = threading.Event()

    def endless():
        try:
            while True:
                time.sleep(0.005)
                yield 1
        finally:
            closed.set()

    steps = follow(endless())
    next(steps)
    steps.close()
    assert closed.is_set()


def test_a_failure_of_the_work_is_raised_to_the_caller():
    def fails():
        yield 1
        raise ValueError("why")

    with pytest.raises(ValueError, match="why"):
        list(follow(fails()))


def test_networks_are_loaded_once_and_the_least_used_leaves(monkeypatch):
    loaded = []
    monkeypatch.setattr(models.xmem, "load_model", lambda name, *_: loaded.append(name) or name)
    cache = models.ModelCache(capacity=2)
    for name in ("a", "b", "a", "/a/c", "a", "b"):
        assert cache.get(name, "cpu") == name
    assert loaded == ["a", "b", "/a/c", "b"]


def test_time_left_follows_from_the_frames_done():
    progress = Progress(done=20, total=100, seconds=10)
    assert progress.frames_per_second == 2 and progress.seconds_left == 40
    assert Progress(done=5, total=None, seconds=1).seconds_left is None
