"""Stages beside one another: in order, in few frames, ended by an error or by whoever has seen enough."""

import itertools
import threading
from contextlib import closing

import numpy as np
import pytest
import torch

from xmem.engine.pipeline import Behind, ahead
from xmem.engine.transfers import fetch

WAIT = 10  # seconds, after which a thread that should go on is taken to be stuck


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("ahead", "behind"))]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert threads() == []


class Source:
    """Counts what is asked of it; the item `fails` raises, and it is closed like a file."""

    def __init__(self, fails: int | None = None) -> None:
        self.made, self.fails, self.read_by, self.closed_beside = [], fails, None, None

    def __iter__(self):
        return self

    def __next__(self) -> int:
        if len(self.made) == self.fails:
            raise OSError(f"item {self.fails} cannot be read")
        self.read_by = threading.current_thread()
        self.made.append(len(self.made))
        return self.made[-1]

    def close(self) -> None:
        self.closed_beside = self.read_by.is_alive()


class TestAhead:
    def test_items_come_in_order_and_once(self):
        assert list(ahead(range(50), 3)) == list(range(50))
        assert list(ahead([], 3)) == []

    def test_the_next_items_are_made_while_the_caller_works_and_no_more_than_those(self):
        made = [threading.Event() for _ in range(9)]
        source = (event.set() or number for number, event in enumerate(made))
        with closing(ahead(source, 2)) as items:
            assert not made[0].wait(0.05), "nothing before it is asked for"
            for number in range(4):
                assert next(items) == number
                assert made[number + 2].wait(WAIT), "made although the caller has not asked for it"
                assert not made[number + 3].wait(0.05), "bounded"

    def test_an_error_comes_after_the_items_before_it_as_it_was(self):
        source, seen = Source(fails=3), []
        with pytest.raises(OSError, match=r"^item 3 cannot be read$"):
            for item in ahead(source, 2):
                seen.append(item)
        assert seen == [0, 1, 2] and source.closed_beside is False

    def test_closed_early_it_ends_its_thread_and_closes_what_it_reads(self):
        source = Source()
        items = ahead(source, 2)
        next(items)
        items.close()
        assert threads() == [] and len(source.made) <= 4
        assert source.closed_beside is False, "only when its thread has ended"

    def test_it_can_be_closed_while_an_item_is_being_made(self):
        begun, go_on, closed = threading.Event(), threading.Event(), []

        def slow():
            try:
                yield 0
                begun.set()
                go_on.wait(WAIT)
                yield 1
            finally:
                closed.append(True)

        items = ahead(slow(), 1)
        next(items)
        assert begun.wait(WAIT)
        timer = threading.Timer(0.05, go_on.set)
        timer.start()
        items.close()
        timer.join()
        assert closed == [True]

    def test_one_stage_may_be_ahead_of_another(self):
        source = Source()
        with closing(ahead(source, 2)) as first, closing(ahead((2 * item for item in first), 2)) as second:
            assert list(itertools.islice(second, 20)) == list(range(0, 40, 2))
        assert source.closed_beside is False


class TestBehind:
    def test_calls_are_made_in_order_and_all_of_them_before_the_context_is_left(self):
        done = []
        with Behind(2) as work:
            futures = [work.put(lambda n: done.append(n) or 2 * n, number) for number in range(20)]
        assert done == list(range(20)) and [future.result() for future in futures] == list(range(0, 40, 2))

    def test_the_caller_goes_on_until_as_many_wait_as_may(self):
        go_on = threading.Event()
        with Behind(2) as work:
            work.put(go_on.wait, WAIT)
            work.put(int)
            timer = threading.Timer(0.05, go_on.set)
            timer.start()
            work.put(int)
            assert go_on.is_set(), "the third call had to wait for the first"
            timer.join()

    def test_a_call_that_fails_is_the_last_and_its_error_reaches_the_caller(self):
        calls = []

        def call(number):
            calls.append(number)
            if number == 3:
                raise OSError("the disk is full")

        with pytest.raises(OSError, match=r"^the disk is full$"), Behind(2) as work:
            for number in itertools.count():
                work.put(call, number)
                assert number < 10, "told soon"
        assert calls == [0, 1, 2, 3]

    @pytest.mark.parametrize("leave", [lambda run: list(run), lambda run: next(run) and run.close()])
    def test_an_error_in_the_last_call_is_told_on_leaving(self, leave):
        """Also where a generator is closed: whoever stops a run hears that its end could not be written."""

        def run():
            with Behind(2) as work:
                work.put(int, "no number")
                yield True

        with pytest.raises(ValueError, match="no number"):
            leave(run())

    @pytest.mark.parametrize("error", [RuntimeError("the caller's"), KeyboardInterrupt()])
    def test_an_error_of_the_caller_leaves_what_was_handed_over_done(self, error):
        done, go_on = [], threading.Event()
        with pytest.raises(type(error)), Behind(3) as work:
            work.put(go_on.wait, WAIT)
            work.put(done.append, 1)
            go_on.set()
            raise error
        assert done == [1]

    def test_several_threads_make_calls_beside_one_another(self):
        meeting = threading.Barrier(2, timeout=WAIT)
        with Behind(4, threads=2) as work:
            assert [work.put(meeting.wait) for _ in range(4)]

    def test_a_flush_tells_of_a_call_that_failed_beside_others_that_did_not(self):
        """Also after `put` has told, when nothing waits any more."""
        other = threading.Event()

        def fails():
            other.wait(WAIT)
            raise OSError("the disk is full")

        with pytest.raises(OSError, match="full"), Behind(2, threads=2) as work:
            work.put(fails)
            work.put(other.set).result()
            with pytest.raises(OSError, match="full"):
                work.flush()
            work.flush()

    def test_all_is_done_after_a_flush(self):
        done = []
        with Behind(3) as work:
            work.put(done.append, 1)
            work.flush()
            assert done == [1]


def run(stages: dict, frames):
    """Reading, a step of the caller, drawing and writing as a video goes through them; yields each frame's number."""
    with Behind(3) as writing, Behind(3) as drawing, closing(ahead(frames, 2)) as coming:
        for number in coming:
            drawn = drawing.put(stages["draw"], stages["step"](number))
            writing.put(lambda drawn: stages["write"](drawn.result()), drawn)
            yield number


class TestWhole:
    """All stages together."""

    def test_no_stage_waits_for_the_end_of_another(self):
        """Every stage works on a frame of its own at one time: each waits, inside, until the others have begun."""
        meeting = threading.Barrier(4, timeout=WAIT)

        def meet(place: int):
            """The stage `place` frames behind the reader; frames 3 to 12 meet in all four of them."""

            def stage(number: int) -> int:
                if 3 <= number + place <= 12:
                    meeting.wait()
                return number

            return stage

        written: list[int] = []
        frames = map(meet(0), range(13))
        write = meet(3)
        stages = {"step": meet(1), "draw": meet(2), "write": lambda number: written.append(write(number))}
        assert list(run(stages, frames)) == written == list(range(13))

    @pytest.mark.parametrize("fails", ["read", "step", "draw", "write"])
    def test_a_failing_stage_stops_all_and_its_own_error_arrives(self, fails):
        written = []

        def stage(name: str):
            def work(number: int) -> int:
                if name == fails and number == 5:
                    raise ArithmeticError(f"{name} failed")
                return number

            return work

        write = stage("write")
        stages = {name: stage(name) for name in ("step", "draw")}
        source = Source()
        frames = closing_map(stage("read"), source)
        with pytest.raises(ArithmeticError, match=rf"^{fails} failed$"):
            list(run(stages | {"write": lambda number: written.append(write(number))}, frames))
        assert written == [0, 1, 2, 3, 4] and source.closed_beside is not None and len(source.made) < 20

    def test_closed_early_all_frames_that_were_given_are_done(self):
        written: list[int] = []
        source = Source()
        stages = {"step": int, "draw": int, "write": written.append}
        steps = run(stages, source)
        assert list(itertools.islice(steps, 7)) == list(range(7))
        steps.close()
        assert written == list(range(7)) and source.closed_beside is False


def closing_map(function, source: Source):
    with closing(source):
        yield from map(function, source)


def test_fetch_gives_the_values():
    values = torch.arange(6, dtype=torch.uint8).view(2, 3)
    assert np.array_equal(fetch(values)(), [[0, 1, 2], [3, 4, 5]])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_fetch_waits_for_a_device():
    values = torch.arange(1 << 20, device="cuda")
    arrays = [fetch(values * factor) for factor in (1, 2, 3)]
    assert [int(array()[-1]) for array in arrays] == [factor * ((1 << 20) - 1) for factor in (1, 2, 3)]
