"""What is painted becomes a key frame at once, on the frame it was painted on; every change can be undone."""

import io
from base64 import b64decode

import numpy as np
import pytest
from demo_clips import index_of
from PIL import Image

from demo.runs import settings, track
from demo.stage import paint
from demo.visit import studio
from xmem import InputError


def mask_in(scene: dict) -> np.ndarray:
    """The index mask [H, W] that a scene shows."""
    return np.array(Image.open(io.BytesIO(b64decode(scene["mask"].split(",")[1]))))


FIRST = (1, 60, 90, 40, 120)
SECOND = (2, 120, 150, 200, 260)


def test_a_stroke_is_a_key_frame_of_its_own_frame_whatever_the_canvas_shows_by_then(act, session, visitor, painted):
    """A stroke that arrives while another frame is on the canvas lands where it was drawn."""
    scene, refreshed = act(paint.stroke, frame=5, shown=9, mask=painted(FIRST), colors={"1": 4})
    after = studio.session_of(visitor)
    assert [key.frame for key in after.key_frames] == [5]
    np.testing.assert_array_equal(after.mask(5), index_of(FIRST))
    assert scene["frame"] == 9 and scene["ack"] == 7 and not scene["is_key"]
    assert isinstance(refreshed, int)


def test_a_new_colour_makes_a_new_object_with_that_colour(act, session, visitor, painted):
    act(paint.stroke, frame=0, mask=painted(FIRST), colors={"1": 4})
    act(paint.stroke, frame=0, mask=painted(FIRST, SECOND), colors={"2": 6})
    assert [(item.id, item.color) for item in studio.session_of(visitor).objects] == [(1, 4), (2, 6)]


def test_what_is_shown_comes_back_exactly_and_unchanged_it_makes_no_key_frame(act, session, visitor, painted, chosen):
    act(paint.stroke, frame=0, mask=painted(FIRST, SECOND), colors={})
    list(track.run(visitor, "neighbours", *chosen))
    scene, _ = act(paint.go, frame=6)
    shown = mask_in(scene)
    np.testing.assert_array_equal(shown, studio.session_of(visitor).mask(6))
    act(paint.stroke, frame=6, mask=scene["mask"], colors={})
    assert [key.frame for key in studio.session_of(visitor).key_frames] == [0]


def test_hidden_objects_are_not_on_the_canvas_and_survive_a_stroke(act, session, visitor, painted):
    act(paint.stroke, frame=0, mask=painted(FIRST, SECOND), colors={})
    scene, _ = act(paint.change_object, id=2, visible=False)
    assert set(np.unique(mask_in(scene))) == {0, 1}
    act(paint.stroke, frame=0, mask=painted((1, 10, 20, 10, 20)), colors={})
    np.testing.assert_array_equal(studio.session_of(visitor).mask(0), index_of((1, 10, 20, 10, 20), SECOND))


def test_an_emptied_first_key_frame_is_gone_and_an_emptied_later_one_says_absent(act, session, visitor, painted):
    act(paint.stroke, frame=0, mask=painted(FIRST), colors={})
    scene, _ = act(paint.stroke, frame=8, mask=painted((1, 0, 5, 0, 5)), colors={})
    scene, _ = act(paint.stroke, frame=8, mask=painted(), colors={})
    assert "absent" in scene["note"]
    assert [key.frame for key in studio.session_of(visitor).key_frames] == [0, 8]
    act(paint.remove_key_frame, frame=8, shown=8)
    act(paint.stroke, frame=0, mask=painted(), colors={})
    assert studio.session_of(visitor).key_frames == ()


def test_undo_and_redo_go_to_the_frame_that_changes(act, session, visitor, painted):
    act(paint.stroke, frame=3, mask=painted(FIRST), colors={})
    scene, _ = act(paint.undo, frame=10)
    assert scene["frame"] == 3 and not mask_in(scene).any() and scene["can_redo"] and not scene["can_undo"]
    scene, _ = act(paint.redo, frame=3)
    np.testing.assert_array_equal(mask_in(scene), index_of(FIRST))


def test_undo_with_nothing_to_undo_changes_nothing(act, session):
    scene, _ = act(paint.undo, frame=4)
    assert scene["frame"] == 4 and scene["ack"] == 7


def test_objects_are_renamed_coloured_swapped_and_deleted(act, session, visitor, painted):
    act(paint.stroke, frame=0, mask=painted(FIRST, SECOND), colors={"1": 0, "2": 1})
    act(paint.change_object, id=1, name="Goose")
    scene, _ = act(paint.change_object, id=1, color=1)
    assert [(item["name"], item["color"]) for item in scene["objects"]] == [("Goose", 1), ("Object 2", 0)]
    scene, _ = act(paint.change_object, id=1, remove=True)
    assert [item["id"] for item in scene["objects"]] == [2]
    assert set(np.unique(mask_in(scene))) == {0, 2}


def test_a_key_frame_is_removed_while_another_frame_is_shown(act, session, visitor, painted):
    act(paint.stroke, frame=0, mask=painted(FIRST), colors={})
    act(paint.stroke, frame=6, mask=painted(SECOND), colors={})
    scene, _ = act(paint.remove_key_frame, frame=6, shown=2)
    assert [key.frame for key in studio.session_of(visitor).key_frames] == [0] and scene["frame"] == 2


def test_more_objects_than_colours_are_refused_in_words_and_the_canvas_goes_back(act, session, painted):
    boxes = [(i, 10 * i, 10 * i + 8, 0, 50) for i in range(1, 10)]
    scene, refreshed = act(paint.stroke, frame=0, mask=painted(*boxes), colors={})
    assert "colours for 8 objects" in scene["note"] and scene["kind"] == "bad" and not mask_in(scene).any()
    assert not isinstance(refreshed, int)


@pytest.mark.parametrize("mask", ["", "data:image/png;base64,AAAA", "data:text/html;base64,AAAA", None])
def test_what_is_no_painting_is_refused_in_words(act, session, visitor, mask):
    scene, _ = act(paint.stroke, frame=0, mask=mask, colors={})
    assert "paint it again" in scene["note"]
    assert studio.session_of(visitor).key_frames == ()


def test_painting_goes_on_during_a_run_and_waits_for_the_next_one(act, session, visitor, painted, chosen):
    act(paint.stroke, frame=0, mask=painted(FIRST), colors={})
    act(paint.stroke, frame=4, mask=painted(FIRST), colors={})
    workspace = studio.workspace_of(visitor)
    with studio.running(workspace):
        steps = studio.session_of(visitor).propagate(settings.read(*chosen))
        next(steps)
        scene, refreshed = act(paint.stroke, frame=8, mask=painted((1, 60, 90, 72, 152)), colors={})
        assert not scene["note"] and isinstance(refreshed, int) and scene["keys"] == [0, 4, 8]
        list(steps)
    after = studio.session_of(visitor)
    np.testing.assert_array_equal(after.mask(8), index_of((1, 60, 90, 72, 152)))
    assert [(span.first, span.last) for span in after.pending()] == [(4, 7), (8, 11)]
    assert all(after.has_result(frame) for frame in range(12)), "the run has done what it began with"


def test_a_change_that_takes_long_holds_the_next_one_up(act, session, visitor, painted, monkeypatch):
    monkeypatch.setattr(studio, "WAIT_SECONDS", 0.05)
    with studio.workspace_of(visitor).locked(1):
        assert "Another change" in act(paint.stroke, frame=0, mask=painted(FIRST), colors={})[0]["note"]
        assert act(paint.go, frame=4)[0]["frame"] == 4, "looking at frames goes on"


def test_without_a_video_actions_are_answered(act):
    assert act(paint.go, frame=0)[0] == {"empty": True, "ack": 7}


def test_an_uploaded_mask_is_painted_on_the_shown_frame(visitor, session, tmp_path):
    index = index_of(FIRST)
    index[70:80, 60:70] = 0  # a hole is meant
    Image.fromarray(index * 255).save(tmp_path / "mask.png")
    scene, _ = paint.upload_mask(str(tmp_path / "mask.png"), 4, visitor)
    np.testing.assert_array_equal(studio.session_of(visitor).mask(4), index)
    assert "on the canvas" in scene["note"] and scene["is_key"]


def test_an_uploaded_masks_colours_mean_the_objects_that_have_them(act, visitor, session, painted, tmp_path):
    act(paint.stroke, frame=0, mask=painted(FIRST), colors={"1": 1})  # object 1 is blue
    index, colors = paint.own_ids(studio.session_of(visitor), index_of((2, 0, 9, 0, 9), (1, 20, 29, 0, 9)))
    assert index[4, 4] == 1, "blue is object 1"
    assert index[24, 4] == 2 and colors == {2: 0}, "red is new"


@pytest.mark.parametrize("kind", ["empty", "text", "aspect"])
def test_a_bad_mask_is_a_sentence_and_leaves_the_painting(visitor, session, tmp_path, kind):
    path = tmp_path / "mask.png"
    if kind == "text":
        path.write_text("no image")
    else:
        size = (320, 180) if kind == "empty" else (100, 100)
        Image.new("L", size, 0 if kind == "empty" else 255).save(path)
    scene, _ = paint.upload_mask(str(path), 0, visitor)
    assert scene["kind"] == "bad" and studio.session_of(visitor).key_frames == ()


def test_key_frames_are_shown_as_pictures_that_lead_there(act, visitor, session, painted):
    assert paint.strip(visitor) == ""
    act(paint.stroke, frame=5, mask=painted(FIRST), colors={})
    html = paint.strip(visitor)
    assert 'data-go="5"' in html and 'data-remove="5"' in html and "data:image/jpeg" in html
    assert "Go to key frame 6" in html


def test_refining_follows_the_edges_and_one_undo_brings_the_sketch_back(act, visitor, session, painted):
    sketch = (1, 62, 88, 42, 118)  # two pixels inside the bright square
    act(paint.stroke, frame=0, mask=painted(sketch), colors={})
    scene, _ = act(paint.refine, frame=0, object=1)
    refined = mask_in(scene) == 1
    square = index_of((1, 60, 90, 40, 120)) == 1
    assert (refined & square).sum() / (refined | square).sum() > 0.95
    assert "Undo" in scene["note"]
    scene, _ = act(paint.undo, frame=0)
    np.testing.assert_array_equal(mask_in(scene), index_of(sketch))


def test_refining_nothing_is_a_sentence(act, session):
    assert "sketch the object roughly" in act(paint.refine, frame=0, object=1)[0]["note"]


def test_a_visitor_without_a_video_cannot_edit(visitor):
    with pytest.raises(InputError, match="no video yet"), studio.editing(visitor):
        pass


def test_a_dot_is_called_a_dot(act, session, painted):
    assert (
        "A dot of 16 pixels: draw round the object"
        in act(paint.stroke, frame=0, mask=painted((1, 60, 64, 40, 44)), colors={})[0]["note"]
    )
    assert not act(paint.stroke, frame=0, mask=painted(FIRST), colors={})[0]["note"]
