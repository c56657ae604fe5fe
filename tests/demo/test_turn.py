"""A line on each device for the runs of all visitors: who is before whom, for how long, and what ends the waiting."""

import re
import threading
from types import SimpleNamespace

import gradio as gr
import pytest
from demo_clips import index_of

from demo.runs import models, track, turn
from demo.runs.turn import Line
from demo.stage import paint
from demo.visit import studio
from xmem import InputError

FIRST = (1, 60, 90, 40, 120)


@pytest.fixture
def line(monkeypatch) -> Line:
    """A line of this test's own."""
    made = Line(1, 2)
    monkeypatch.setattr(turn, "line", lambda: made)
    monkeypatch.setattr("demo.runs.follow.HEARTBEAT_SECONDS", 0.02)
    return made


def test_whoever_waits_is_told_how_many_are_before_and_how_long_they_take():
    line = Line(1, 2)
    with line.place() as first, line.place(30.0) as second, line.place() as third:
        assert first.wait(0) and not second.wait(0) and not third.wait(0)
        assert (first.ahead, second.ahead, third.ahead) == (0, 1, 2)
        assert second.seconds is None, "nobody knows how long the first one takes"
        first.tell(10.0)
        assert 9 < second.seconds <= 10 and 39 < third.seconds <= 40
        with pytest.raises(InputError, match="wait already"), line.place():
            pass
    with line.place() as again, line.place() as behind:
        assert again.wait(0) and behind.seconds is not None, "the first run tells how long one takes"
    assert len(line) == 0


def test_several_go_on_at_once_where_that_is_allowed():
    line = Line(2, 1)
    with line.place() as one, line.place() as two, line.place() as three:
        assert one.wait(0) and two.wait(0) and not three.wait(0) and three.ahead == 1


def test_each_device_has_a_line_of_its_own_and_all_lines_an_end():
    line = Line(1, 1)
    with line.place(20.0, "cuda") as one, line.place(device="cpu") as other, line.place(device="cuda") as behind:
        assert one.wait(0) and other.wait(0), "they do not wait for one another"
        assert behind.ahead == 1 and 19 < behind.seconds <= 20
        with pytest.raises(InputError, match="wait already"), line.place(device="cpu"):
            pass
        with line.place(device="cuda:1") as third:
            assert third.wait(0), "who does not have to wait takes no place from those who do"


def test_a_place_that_is_left_makes_way():
    line = Line(1, 2)
    first, second = line.place(), line.place()
    first.__enter__().wait(0)
    waiting = second.__enter__()
    threading.Timer(0.05, first.__exit__, (None, None, None)).start()
    assert waiting.wait(20)
    second.__exit__(None, None, None)


def test_when_the_server_ends_nobody_begins_and_all_are_waited_for():
    line = Line(1, 2)
    with line.place() as first, line.place() as second:
        first.wait(0)
        assert not line.end(0) and line.ends
        with pytest.raises(InputError, match="about to start again"):
            second.wait(20)
    assert line.end(0)
    with pytest.raises(InputError, match="about to start again"), line.place():
        pass


def test_a_waiting_visitor_sees_the_line_and_stop_ends_the_waiting(
    line, act, session, visitor, painted, chosen, monkeypatch
):
    act(paint.stroke, frame=0, mask=painted(FIRST), colors={})
    with line.place(90.0, "cpu") as other:
        other.wait(0)
        panels = track.run(visitor, "neighbours", *chosen)
        assert re.search(r"Waiting: another run is first, about 1 min [0-3]\d s\.", next(panels))
        track.stop(visitor)
        assert "nothing was changed" in list(panels)[-1]
    assert not studio.is_running(visitor) and not studio.session_of(visitor).has_results
    assert len(line) == 0


def test_a_waiting_run_whose_page_has_gone_gives_up_its_place(
    line, act, session, visitor, painted, chosen, monkeypatch
):
    monkeypatch.setattr(track, "WAITING_UNWATCHED_SECONDS", -1)
    act(paint.stroke, frame=0, mask=painted(FIRST), colors={})
    with line.place(device="cpu") as other:
        other.wait(0)
        panels = track.run(visitor, "neighbours", *chosen)
        next(panels)
        panels.close()
        for thread in threading.enumerate():
            if thread.name == "run":
                thread.join(60)
        assert len(line) == 1 and not studio.is_running(visitor)


def test_a_run_is_left_when_the_server_ends_and_its_visitor_is_told(line, act, session, visitor, painted, chosen):
    act(paint.stroke, frame=0, mask=painted(FIRST), colors={})
    panels = track.run(visitor, "neighbours", *chosen)
    while "Frame" not in next(panels):
        pass
    threading.Thread(target=line.end, args=(60,)).start()
    with pytest.raises(gr.Error, match="about to start again: what is done is kept"):
        list(panels)
    assert studio.session_of(visitor).suspended() > 0, "and can be gone on with"
    with pytest.raises(gr.Error, match="about to start again"):
        list(track.run(visitor, "neighbours", *chosen))


def test_programs_learn_of_their_place(line, session, visitor, listed):
    from demo import api

    session.set_key_frame(0, index_of(FIRST))
    with line.place(5.0, models.device_choices()[0][1]) as other:
        other.wait(0)
        steps = api.propagate(visitor, size=64)
        found = next(steps)
        assert found["ahead"] == 1 and 0 < found["wait_seconds"] <= 5
    assert [step for step in steps if "done" in step][-1]["done"] == 12


def test_a_run_above_the_limit_of_seconds_is_left_and_says_so(
    line, act, session, visitor, painted, chosen, monkeypatch
):
    monkeypatch.setattr(track, "limits", lambda: SimpleNamespace(run_seconds=0))
    act(paint.stroke, frame=0, mask=painted(FIRST), colors={})
    assert "A run may take 0 s here: press Continue to go on." in list(track.run(visitor, "neighbours", *chosen))[-1]
    assert 0 < studio.session_of(visitor).suspended() < 12


def test_a_run_that_would_need_more_memory_than_allowed_is_refused_beforehand(
    line, act, session, visitor, painted, chosen, monkeypatch
):
    from demo.runs import preflight
    from xmem.limits import Limits

    act(paint.stroke, frame=0, mask=painted(FIRST), colors={})
    monkeypatch.setattr(preflight, "limits", lambda: Limits(run_bytes=1000))
    with pytest.raises(gr.Error, match=r"needs .* of memory, more than the 0 MB allowed here: choose a smaller"):
        list(track.run(visitor, "neighbours", *chosen))
    assert not studio.session_of(visitor).has_results and len(line) == 0
