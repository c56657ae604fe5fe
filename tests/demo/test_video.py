"""A video, the sample of programs or a bundle becomes a session; what it is; its trim."""

import contextlib
import shutil
import threading
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from demo import api
from demo.html import panels
from demo.runs import preflight, rendering, settings, track
from demo.runs.models import ModelCache
from demo.stage import paint, video
from demo.visit import studio
from xmem import leaving
from xmem.limits import Limits
from xmem.render.post import PostProcessing
from xmem.session import TrackSettings
from xmem.video import fitting


def test_a_video_puts_its_first_frame_on_the_canvas_and_says_what_it_is(visitor, clip):
    _, scene, note, first, last, *_ = video.load(str(clip), visitor)
    assert (scene["width"], scene["height"], scene["frame"], scene["frames"]) == (320, 180, 0, 12)
    for fact in ("320 × 180", "12 frames", "25 frames per second", "no sound", "H.264"):
        assert fact in note
    assert (first["value"], last["value"]) == (1, 12)
    assert studio.session_of(visitor).key_frames == ()


def test_a_bad_video_is_a_sentence_and_leaves_nothing_behind(visitor, tmp_path):
    upload, scene, note, *_ = video.load(not_a_video(tmp_path), visitor)
    assert upload is None and scene["empty"] and 'role="alert"' in note


def test_of_a_video_that_is_too_long_its_beginning_is_offered_and_taken(visitor, clip, monkeypatch):
    for place in ("xmem.limits", "xmem.video.index", "xmem.session.session"):
        monkeypatch.setattr(f"{place}.limits", lambda: Limits(frames=9))
    _, scene, note, *_, kept = video.load(str(clip), visitor)
    assert scene["empty"] and "more than the 9 frames" in note and "Take its first 9 frames" in note
    assert kept == (str(clip), "Take its first 9 frames")
    *_, (_, scene, note, *_, kept) = video.load_part(kept, visitor)
    assert scene["frames"] == 9 and "Its first 9 frames were taken." in note and kept is None
    assert list(api.open_part(str(clip), visitor))[-1]["frames"] == 9
    assert video.load(str(clip), visitor)[1]["frames"] == 9, "what is there stays when another one is refused"


@pytest.fixture
def few_pixels(monkeypatch):
    """Of the clip's frames, 320x180, too few are allowed."""
    for place in ("xmem.limits", "xmem.session.session", "xmem.video.isolated"):
        monkeypatch.setattr(f"{place}.limits", lambda: Limits(frame_pixels=20_000, frames=9))


def test_of_a_video_that_is_too_large_a_smaller_copy_is_offered_and_made(visitor, clip, few_pixels):
    _, scene, note, *_, kept = video.load(str(clip), visitor)
    assert scene["empty"] and "320x180, more than the 0.02 megapixels" in note and "Make it smaller (188x106)" in note
    assert kept == (str(clip), "Make it smaller (188x106)")
    *steps, (_, scene, note, *_, kept) = video.load_part(kept, visitor)
    assert all("data-halt" in step[2] for step in steps) and kept is None
    assert (scene["width"], scene["height"], scene["frames"]) == (188, 106, 9)
    assert "It was made smaller, 188x106, and its first 9 frames were taken." in note
    *_, found = api.open_part(str(clip), visitor)
    assert (found["width"], found["frames"]) == (188, 9)


@pytest.mark.parametrize("how", ["halted", "closed", "another"])
def test_making_it_smaller_is_stopped_and_leaves_nothing(visitor, workspaces, clip, few_pixels, monkeypatch, how):
    """A frame waits until it was stopped."""
    monkeypatch.setattr(leaving, "_ASK_SECONDS", 0)
    monkeypatch.setattr("demo.runs.follow.HEARTBEAT_SECONDS", 0.02)
    stopped = threading.Event()
    honest = fitting.VideoWriter.write

    def write(*args):
        honest(*args)
        stopped.wait(30)

    monkeypatch.setattr(fitting.VideoWriter, "write", write)
    _, _, _, *_, kept = video.load(str(clip), visitor)
    steps = video.load_part(kept, visitor)
    assert "data-halt" in next(steps)[2]
    if how == "closed":
        studio.workspace_of(visitor).stop_opening("closed")
        stopped.set()
        steps.close()
    else:
        video.halt(visitor) if how == "halted" else video.load(str(not_a_video(workspaces.root)), visitor)
        stopped.set()
        *_, (_, scene, note, *_, again) = steps
        if how == "halted":
            assert scene["empty"] and "Stopped: nothing was opened." in note and again == kept
    assert not studio.has_session(visitor)
    assert not list(workspaces.root.rglob("video.mp4")) and not list(workspaces.root.rglob("*.part"))


def test_a_bad_video_beside_own_work_brings_that_back(visitor, session, tmp_path):
    before = studio.key_of(visitor)
    upload, scene, note, *_ = video.load(not_a_video(tmp_path), visitor)
    assert upload is None and scene["frames"] == 12 and 'role="alert"' in note
    assert studio.key_of(visitor) == before


def not_a_video(folder) -> str:
    path = folder / "text.mp4"
    path.write_text("not a video")
    return str(path)


def test_taking_the_video_away_empties_the_page_and_loses_nothing(visitor, session, act, painted):
    act(paint.stroke, frame=2, mask=painted((1, 60, 90, 40, 120)), colors={})
    key = studio.key_of(visitor)
    video.take_away(visitor)
    assert not studio.has_session(visitor)
    assert [each.frame for each in studio.join_session(visitor, key).key_frames] == [2]


def test_a_sample_of_a_program_beside_own_work_is_another_session(visitor, session):
    key = studio.key_of(visitor)
    video.sample_session(visitor)
    assert studio.key_of(visitor) != key and studio.session_of(visitor).frame_count == 90
    assert studio.join_session(visitor, key).frame_count == 12


def test_the_key_in_the_address_brings_the_work_back(visitor, session, chosen, act, painted):
    act(paint.stroke, frame=2, mask=painted((1, 60, 90, 40, 120)), colors={})
    list(track.run(visitor, "neighbours", *chosen))
    key = studio.key_of(visitor)
    again = SimpleNamespace(session_hash="the page, loaded again")
    remembered, _, scene, note, *rest = video.come_back(f"?session={key}", again)
    assert (remembered["key"], remembered["name"]) == (key, session.name)
    assert remembered["picture"].startswith("data:image/jpeg")
    assert scene["frame"] == 2 and "12 of 12 frames tracked" in note
    shown = rest[-len(chosen) :]
    now = settings.read(shown[0], chosen[1], shown[2]["value"], *shown[3:])
    assert now == settings.read(*chosen), "settings are those of the run"


def test_an_address_whose_session_is_over_is_a_sentence_and_an_empty_page(visitor):
    remembered, _, scene, note, *_ = video.come_back("?session=no-such-key", visitor)
    assert remembered["gone"] == "no-such-key" and remembered["key"] is None
    assert scene["empty"] and "is over" in note and 'role="alert"' in note
    assert not studio.has_session(visitor)


def test_a_page_without_a_key_stays_as_it_is(visitor):
    assert all(update == gr.skip() for update in video.come_back("", visitor))


def test_the_sample_comes_with_its_mask_and_a_name(visitor):
    session = video.sample_session(visitor)
    np.testing.assert_array_equal(session.mask(0), np.array(Image.open(video.SAMPLE_MASK)))
    assert [item.name for item in session.objects] == ["Bunny"]
    assert session.frame_count == 90


def test_a_bundle_brings_everything_back(visitor, session, chosen, tmp_path, act, painted):
    act(paint.stroke, frame=2, mask=painted((1, 60, 90, 40, 120)), colors={"1": 3})
    list(track.run(visitor, "neighbours", *chosen))
    studio.session_of(visitor).set_trim(1, 10)
    bundle = studio.session_of(visitor).save_bundle(tmp_path / "work.zip")
    other = SimpleNamespace(session_hash="other")
    _, scene, note, *_ = video.load(str(bundle), other)
    resumed, before = studio.session_of(other), studio.session_of(visitor)
    assert resumed.key_frames == before.key_frames and resumed.objects == before.objects
    assert (resumed.first, resumed.last) == (1, 10)
    np.testing.assert_array_equal(resumed.mask(7), before.mask(7))
    assert "as you left it: 1 key frame, 10 of 10 frames tracked" in note
    assert scene["frame"] == 2 and scene["is_key"]


def test_a_file_that_is_no_bundle_is_a_sentence_and_the_work_stays(visitor, session, clip, tmp_path):
    note = video.load(shutil.copy(clip, tmp_path / "clip.zip"), visitor)[2]
    assert 'role="alert"' in note
    assert studio.session_of(visitor).frame_count == 12


def test_trimming_limits_the_session_and_moves_the_canvas_there(visitor, session):
    first, last, note, scene, _ = video.trim(4, 9, visitor)
    assert first == last == gr.skip() and scene["frame"] == 3, "the sliders have their ends, and may have moved on"
    assert "6 of 12" in note
    trimmed = studio.session_of(visitor)
    assert (trimmed.first, trimmed.last) == (3, 8)


def test_ends_of_the_trim_may_be_given_in_either_order(visitor, session):
    assert video.trim(9, 4, visitor)[:2] == (4, 9)


def test_an_estimate_is_given_after_upload_and_kept_for_the_run(visitor, session, chosen, act, painted):
    card, button, proposed, ask = preflight.at_once(visitor, *chosen)
    assert "A run takes about" in card and not ask["visible"]
    assert button["visible"] == bool(proposed)
    act(paint.stroke, frame=0, mask=painted((1, 60, 90, 40, 120)), colors={})
    assert preflight.expected_seconds(studio.session_of(visitor), settings.read(*chosen)) > 0
    panel = list(track.run(visitor, "neighbours", *chosen))
    progress, _ = rendering.read_summary(studio.session_of(visitor))
    assert panel and "estimated" in panels.finished(progress, False)


@pytest.fixture
def two_sizes(monkeypatch, chosen):
    """The sizes without and with a GPU are of a small clip, and there is none."""
    monkeypatch.setattr(settings, "CPU_SIZE", 96)
    monkeypatch.setattr(settings, "GPU_SIZE", 128)
    monkeypatch.setattr(settings, "allowed_sizes", lambda: [96, 128])
    monkeypatch.setattr(settings, "default_size", lambda: 96)
    chosen[2] = 96
    return chosen


def size_for_new_clip(visitor, chosen, **own):
    """The size that follows the estimate, None where it stays."""
    *_, last = preflight.for_new_clip(own, visitor, *chosen)
    return None if last[-1] == gr.skip() else last[-1]


def test_a_new_clip_begins_with_what_the_visitor_chose_and_not_with_what_a_clip_of_before_had(visitor, clip, chosen):
    """A finished sample may be of 240 pixels and of its own memory settings."""
    *_, model, device, size, memories, direction, pause, _ = video.load(str(clip), visitor, {}, chosen[0])
    assert model == device == gr.skip()
    assert settings.read(chosen[0], "cpu", size, memories, direction, pause) == TrackSettings(
        chosen[0], "cpu", settings.default_size()
    )
    own = {"size": 240, "pause": True, "memory": settings.memory.shown(chosen[0]) | {"values": chosen[3]}}
    *_, size, memories, direction, pause, _ = video.load(str(clip), visitor, own, chosen[0])
    assert (size, direction, pause, memories["values"]) == (240, "both", True, chosen[3])
    *_, memories, _, _, _ = video.load(str(clip), visitor, own, "STCN")
    assert memories["family"] == "stcn", "those that were chosen are of another family"


def test_a_new_clip_takes_the_larger_size_where_a_run_with_it_is_quick(visitor, session, two_sizes, monkeypatch):
    assert size_for_new_clip(visitor, two_sizes) == 128
    two_sizes[2] = 128
    assert size_for_new_clip(visitor, two_sizes) is None, "it has it"
    monkeypatch.setattr(preflight, "QUICK", 0)
    assert size_for_new_clip(visitor, two_sizes) == 96, "left from a clip before, which was shorter"
    two_sizes[2] = 96
    assert size_for_new_clip(visitor, two_sizes) is None


def test_a_size_that_was_chosen_and_one_with_work_already_stay(visitor, session, two_sizes, act, painted):
    assert size_for_new_clip(visitor, two_sizes, size=96) is None
    assert size_for_new_clip(visitor, [*two_sizes[:2], 112, *two_sizes[3:]]) is None
    act(paint.stroke, frame=0, mask=painted((1, 60, 90, 40, 120)), colors={})
    assert size_for_new_clip(visitor, two_sizes) is None


def test_frames_that_are_small_themselves_are_not_enlarged(visitor, session, two_sizes, monkeypatch):
    monkeypatch.setattr(settings, "GPU_SIZE", 200)
    monkeypatch.setattr(settings, "allowed_sizes", lambda: [96, 200])
    assert size_for_new_clip(visitor, two_sizes) is None


def test_after_a_run_its_own_speed_is_what_is_expected_and_the_estimate_goes(visitor, session, chosen, act, painted):
    preflight.at_once(visitor, *chosen)
    act(paint.stroke, frame=0, mask=painted((1, 60, 90, 40, 120)), colors={})
    assert preflight.when_changed(visitor, *chosen)[0] == gr.skip()
    list(track.run(visitor, "neighbours", *chosen))
    progress, _ = rendering.read_summary(studio.session_of(visitor))
    assert progress.done >= preflight.ENOUGH
    assert preflight.when_changed(visitor, *chosen)[0] == ""
    act(paint.stroke, frame=6, mask=painted((1, 60, 90, 50, 130)), colors={})
    current, asked = studio.session_of(visitor), settings.read(*chosen)
    steps = current.steps_left(asked)
    measured = steps * progress.seconds / progress.done
    assert steps and preflight.expected_seconds(current, asked) == pytest.approx(measured)


def test_a_few_frames_of_a_run_are_not_taken_for_its_speed(visitor, session, chosen):
    preflight.at_once(visitor, *chosen)
    asked = settings.read(*chosen)
    before = preflight.expected_seconds(session, asked)
    preflight.learn(session, asked, preflight.ENOUGH - 1, 1e6)
    assert preflight.expected_seconds(session, asked) == before


def test_an_estimate_that_comes_once_a_run_goes_on_is_not_shown(visitor, session, chosen, monkeypatch):
    found = preflight.timed(session, settings.read(*chosen))
    with contextlib.ExitStack() as run:

        def timed(*_):
            run.enter_context(studio.running(studio.workspace_of(visitor)))
            return found

        monkeypatch.setattr(preflight, "timed", timed)
        assert preflight.at_once(visitor, *chosen)[0] == ""


def test_an_estimate_of_another_model_than_the_chosen_one_says_so(
    visitor, session, chosen, tiny_model, monkeypatch, tmp_path
):
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path))
    shutil.copy(tiny_model, tmp_path / "xmem-lite.safetensors")
    (tmp_path / "XMem.pth").write_bytes(b"<html>")
    monkeypatch.setattr("demo.runs.models.MODELS", ModelCache())
    chosen[0] = "XMem"
    card, *_ = preflight.at_once(visitor, *chosen)
    assert "A run takes about" in card and "goes on with xmem-lite" in card


def test_an_estimate_is_made_anew_for_the_frames_that_the_trim_leaves(visitor, session, chosen, monkeypatch):
    found, asked = preflight.timed(session, settings.read(*chosen)), []
    monkeypatch.setattr(preflight, "estimate_session", lambda folder, _: asked.append(folder) or found)
    assert preflight.when_changed(visitor, *chosen)[0] == gr.skip() and not asked, "nothing has changed"
    video.trim(4, 9, visitor)
    assert "A run takes about" in preflight.when_changed(visitor, *chosen)[0]
    assert preflight.when_changed(visitor, *chosen)[0] == gr.skip() and len(asked) == 1


def test_while_frames_are_timed_a_word_keeps_the_place(visitor, session, chosen):
    first, last = list(preflight.announced(visitor, *chosen))
    assert "Timing" in first[0] and "A run takes about" in last[0]


def test_a_clip_that_sets_another_size_is_timed_once(visitor, session, two_sizes, monkeypatch):
    """The change of size asks for an estimate, and the clip itself does so as well."""
    found, asked = preflight.timed(session, settings.read(*two_sizes)), []
    monkeypatch.setattr(preflight, "estimate_session", lambda folder, _: asked.append(folder) or found)
    two_sizes[2] = 128
    assert "A run takes about" in list(preflight.announced(visitor, *two_sizes))[-1][0]
    monkeypatch.setattr(preflight, "QUICK", 0)
    assert size_for_new_clip(visitor, two_sizes) == 96 and len(asked) == 1
    ((card, *_),) = preflight.announced(visitor, *two_sizes)
    assert "A run takes about" in card and len(asked) == 1, "what is known is shown, also after a reload"
    assert "A run takes about" in preflight.by_request(visitor, *two_sizes)[0] and len(asked) == 2


def test_an_estimate_of_other_settings_is_not_compared(visitor, session, chosen):
    preflight.at_once(visitor, *chosen)
    chosen[2] = 96
    assert preflight.expected_seconds(session, settings.read(*chosen)) == 0


def test_where_gpu_time_is_rationed_an_estimate_waits_to_be_asked_for(visitor, session, chosen, monkeypatch):
    with monkeypatch.context() as lent:
        lent.setattr(preflight.zero, "spaces", object())
        card, _, _, ask = preflight.at_once(visitor, *chosen)
    assert card == "" and ask["visible"]
    assert "A run takes about" in preflight.by_request(visitor, *chosen)[0]


def test_without_a_video_there_is_nothing_to_estimate(visitor, chosen):
    assert preflight.at_once(visitor, *chosen)[0] == ""


def test_controls_of_cleaning_up_follow_the_session_that_is_opened(visitor, session, clip):
    session.set_post(PostProcessing(grow=3, drop_specks=True))
    assert video.opened(studio.session_of(visitor), "")[9:12] == (3, False, True)
    assert video.load(str(clip), visitor)[9:12] == (0, False, False)
