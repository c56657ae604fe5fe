"""A run computes what is pending and nothing else, can be stopped, and its result is a video."""

import threading
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from demo_clips import index_of

from demo.runs import rendering, track
from demo.stage import paint, video
from demo.visit import studio
from xmem.session import agreement
from xmem.video import probe

FIRST = (1, 60, 90, 40, 120)


@pytest.fixture
def follow_all(act, session, visitor, painted, chosen):
    """One key frame on the first frame, and everything computed."""
    act(paint.stroke, frame=0, mask=painted(FIRST), colors={})
    return list(track.run(visitor, "neighbours", *chosen))


def until_a_frame(steps) -> None:
    """Go on until a frame is done, or all are: a page that looks rarely may miss those in between."""
    for panel in steps:
        if "Frame" in panel or "Done" in panel:
            return


def masks(visitor) -> dict[str, bytes]:
    folder = studio.session_of(visitor).folder
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("spans/*/masks/*.png")}


def test_a_run_reports_frames_and_leaves_nothing_pending(follow_all, visitor, chosen):
    assert "Done: 12 frames" in follow_all[-1]
    assert (
        track.waiting(visitor, "neighbours", *chosen)[0]
        == '<p class="pending" role="status">Everything is up to date.</p>'
    )
    assert not list(studio.workspace_of(visitor).work.glob("track-*"))


def test_a_correction_pends_only_the_spans_beside_it_and_others_keep_their_bytes(
    follow_all, act, visitor, painted, chosen
):
    act(paint.stroke, frame=8, mask=painted((1, 60, 90, 72, 152)), colors={})
    list(track.run(visitor, "neighbours", *chosen))
    before = masks(visitor)
    act(paint.stroke, frame=10, mask=painted((1, 60, 90, 80, 160)), colors={})
    assert "1 of 3 spans is up to date; 4 frames to compute." in track.waiting(visitor, "neighbours", *chosen)[0]
    list(track.run(visitor, "neighbours", *chosen))
    after = masks(visitor)
    kept = {name: data for name, data in before.items() if name in after}
    assert any(name.endswith("00003.png") for name in kept)
    assert all(after[name] == data for name, data in kept.items())


def test_other_settings_make_everything_pending(follow_all, visitor, chosen):
    chosen[2] = 96
    assert "12 frames to compute." in track.waiting(visitor, "neighbours", *chosen)[0]


def test_the_result_video_shows_every_frame_and_is_named_after_the_upload(follow_all, visitor):
    workspace = studio.workspace_of(visitor)
    with rendering.rendered(studio.session_of(visitor), workspace) as path:
        assert path.name == "My-clip-1-overlay.mp4" and probe(path).frame_count == 12
    assert not list(workspace.work.glob("render-*"))


def test_stop_keeps_what_is_done_and_the_next_run_does_the_rest(act, session, visitor, painted, chosen, monkeypatch):
    monkeypatch.setattr("demo.runs.follow.HEARTBEAT_SECONDS", 0.02)
    act(paint.stroke, frame=0, mask=painted(FIRST), colors={})
    for panel in track.run(visitor, "neighbours", *chosen):
        if "Frame" in panel:
            track.stop(visitor)
    session = studio.session_of(visitor)
    done = [frame for frame in range(12) if session.has_result(frame)]
    assert 1 <= len(done) < 12
    progress, stopped = rendering.read_summary(studio.session_of(visitor))
    assert stopped and progress.done == len(done)
    line, label, start_over, _ = track.waiting(visitor, "neighbours", *chosen)
    assert f"{len(done) / 12:.0%} of that is done" in line
    assert label == f"Continue from frame {len(done) + 1}" and start_over["visible"]
    track.begin(visitor)
    panels = list(track.run(visitor, "neighbours", *chosen))
    assert f"Done: {12 - len(done)} frame" in panels[-1], "the run went on where it was stopped"
    assert all(studio.session_of(visitor).has_result(frame) for frame in range(12))
    assert track.waiting(visitor, "neighbours", *chosen)[1:3] == ("Run", gr.update(visible=False))


def test_a_run_that_was_stopped_starts_over_on_request(act, session, visitor, painted, chosen, monkeypatch):
    monkeypatch.setattr("demo.runs.follow.HEARTBEAT_SECONDS", 0.02)
    act(paint.stroke, frame=0, mask=painted(FIRST), colors={})
    for panel in track.run(visitor, "neighbours", *chosen):
        if "Frame" in panel:
            track.stop(visitor)
    assert studio.session_of(visitor).suspended() > 0
    track.begin(visitor)
    assert "Done: 12 frames" in list(track.run_anew(visitor, "neighbours", *chosen))[-1]


def test_results_say_that_they_are_from_before_a_change_until_the_next_run(follow_all, act, visitor, painted, chosen):
    assert rendering.old(visitor) == ""
    act(paint.stroke, frame=6, mask=painted((1, 0, 30, 0, 60)), colors={})
    assert "made before your last change: run again." in rendering.old(visitor)
    act(paint.undo, frame=6)
    assert rendering.old(visitor) == "", "undo brings the result back"
    act(paint.redo, frame=6)
    list(track.run(visitor, "neighbours", *chosen))
    assert rendering.old(visitor) == ""


def test_a_stopped_run_is_no_change(act, session, visitor, painted, chosen, monkeypatch):
    monkeypatch.setattr("demo.runs.follow.HEARTBEAT_SECONDS", 0.02)
    act(paint.stroke, frame=0, mask=painted(FIRST), colors={})
    for panel in track.run(visitor, "neighbours", *chosen):
        if "Frame" in panel:
            track.stop(visitor)
    assert studio.session_of(visitor).pending() and rendering.old(visitor) == ""


def closed_in_mid_run(act, visitor, painted, chosen) -> None:
    act(paint.stroke, frame=0, mask=painted(FIRST), colors={})
    steps = track.run(visitor, "neighbours", *chosen)
    until_a_frame(steps)
    steps.close()
    studio.depart(visitor)


def test_a_run_goes_on_without_its_page_and_another_page_joins_it(act, session, visitor, painted, chosen, monkeypatch):
    monkeypatch.setattr("demo.runs.follow.HEARTBEAT_SECONDS", 0.02)
    closed_in_mid_run(act, visitor, painted, chosen)
    again = SimpleNamespace(session_hash="the page, loaded again")
    studio.join_session(again, studio.key_of(visitor))
    (panel, run, _, stop, _), *more = track.join(again)
    assert "of 12" in panel and not run["visible"] and stop["visible"]
    assert isinstance(more[-1][-1], int), "the page shows the result then"
    assert all(studio.session_of(again).has_result(frame) for frame in range(12))


def test_a_run_that_ends_while_its_page_is_loaded_again_is_shown(act, session, visitor, painted, chosen):
    act(paint.stroke, frame=0, mask=painted(FIRST), colors={})
    key, steps = studio.key_of(visitor), track.run(visitor, "neighbours", *chosen)
    until_a_frame(steps)
    again = SimpleNamespace(session_hash="the page, loaded again")
    video.come_back(f"?session={key}", again)
    list(steps)
    assert isinstance(list(track.join(again))[-1][-1], int), "the page shows the result then"


def test_a_page_that_comes_to_a_session_without_a_result_shows_none(visitor, session):
    assert list(track.join(visitor)) == [(gr.skip(),) * 5]


def test_a_run_that_nobody_looks_at_any_more_is_left_and_what_it_has_is_kept(
    act, session, visitor, painted, chosen, monkeypatch
):
    monkeypatch.setattr("demo.runs.follow.HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr("demo.runs.told.UNWATCHED_SECONDS", -1)
    closed_in_mid_run(act, visitor, painted, chosen)
    for thread in threading.enumerate():
        if thread.name == "run":
            thread.join(60)
    assert 0 < studio.session_of(visitor).suspended() < 12 and not studio.is_running(visitor)


def test_run_in_a_second_tab_shows_the_run_of_the_first(act, session, visitor, painted, chosen, monkeypatch):
    monkeypatch.setattr("demo.runs.follow.HEARTBEAT_SECONDS", 0.02)
    act(paint.stroke, frame=0, mask=painted(FIRST), colors={})
    first = track.run(visitor, "neighbours", *chosen)
    until_a_frame(first)
    assert studio.is_running(visitor)
    assert "Done: 12 frames" in list(track.run(visitor, "neighbours", *chosen))[-1]
    list(first)


def test_what_is_missing_is_said_once_in_a_sentence(visitor, chosen, clip):
    with pytest.raises(gr.Error, match="no video yet"):
        list(track.run(visitor, "neighbours", *chosen))
    studio.begin_session(visitor, clip)
    steps = track.run(visitor, "neighbours", *chosen)
    assert "Nothing is painted yet" in next(steps)
    with pytest.raises(gr.Error, match="Nothing is painted yet") as error:
        next(steps)
    assert not error.value.visible, "the panel says it already"


def test_a_range_without_a_painted_frame_is_said_and_not_called_up_to_date(follow_all, visitor, chosen):
    studio.session_of(visitor).set_trim(4, 9)
    with pytest.raises(gr.Error, match="No painted frame lies in the trimmed range"):
        list(track.run(visitor, "neighbours", *chosen))


def test_an_unexpected_failure_is_a_short_sentence_and_a_log_entry(
    act, session, visitor, painted, chosen, monkeypatch, caplog
):
    def fail(*_, **__):
        raise RuntimeError("secret detail")
        yield

    act(paint.stroke, frame=0, mask=painted(FIRST), colors={})
    monkeypatch.setattr(track, "propagate_session", fail)
    with pytest.raises(gr.Error, match="Something went wrong") as error:
        list(track.run(visitor, "neighbours", *chosen))
    assert "secret" not in str(error.value) and "secret detail" in caplog.text


def test_after_a_run_the_canvas_shows_the_computed_mask_and_the_later_steps_unfold(follow_all, visitor):
    run, stop, scene, check, take, _ = track.finish(6, visitor)
    assert run["visible"] and not stop["visible"]
    assert scene["frame"] == 6
    assert check["visible"] and take["visible"] and "Done: 12 frames" in follow_all[-1]


def test_undo_of_a_correction_brings_its_result_back_without_a_run(follow_all, act, visitor, painted, chosen):
    before = studio.session_of(visitor).mask(7)
    act(paint.stroke, frame=6, mask=painted((1, 0, 30, 0, 60)), colors={})
    list(track.run(visitor, "neighbours", *chosen))
    _, refreshed = act(paint.undo, frame=6)
    assert isinstance(refreshed, int)
    np.testing.assert_array_equal(studio.session_of(visitor).mask(7), before)
    assert "up to date" in track.waiting(visitor, "neighbours", *chosen)[0]


def test_a_backward_run_fills_the_frames_before(act, session, visitor, painted, chosen):
    act(paint.stroke, frame=11, mask=painted(FIRST), colors={})
    chosen[-2] = "backward"
    list(track.run(visitor, "neighbours", *chosen))
    assert all(studio.session_of(visitor).has_result(frame) for frame in range(12))
    np.testing.assert_array_equal(studio.session_of(visitor).mask(11), index_of(FIRST))


def test_a_correction_is_carried_as_far_as_is_chosen_which_shows_where_there_is_one(
    follow_all, act, visitor, painted, chosen
):
    assert not track.waiting(visitor, "around", *chosen)[-1]["visible"], "nothing is to be corrected"
    act(paint.stroke, frame=6, mask=painted((1, 60, 90, 72, 152)), colors={})
    assert track.waiting(visitor, "around", *chosen)[-1]["visible"]
    said = list(track.run(visitor, "frame", *chosen))[-1]
    assert "The other frames stay as they were" in said
    line, *_, scope = track.waiting(visitor, "around", *chosen)
    assert "12 frames to compute." in line and scope["visible"], "it can still be carried on"
    list(track.run(visitor, "around", *chosen))
    assert "Everything is up to date." in track.waiting(visitor, "around", *chosen)[0]


def test_a_run_offers_to_keep_the_rest_once_masks_agree_and_then_does(
    follow_all, act, visitor, painted, chosen, monkeypatch
):
    monkeypatch.setattr("demo.runs.follow.HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr(agreement, "FRAMES", 1)
    monkeypatch.setattr(agreement, "LEAST", 0.0)
    act(paint.stroke, frame=6, mask=painted((1, 60, 90, 72, 152)), colors={})
    for panel in track.run(visitor, "neighbours", *chosen):
        if "data-keep" in panel:
            track.keep_rest(visitor)
    session = studio.session_of(visitor)
    assert session.pending() == []
    assert "Everything is up to date." in track.waiting(visitor, "around", *chosen)[0]
