"""Which frames are computed from which key frames."""

from xmem.session.project import KeyFrame
from xmem.session.spans import plan


def keys(*pairs):
    return [KeyFrame(frame, f"mask{frame}", tuple(objects)) for frame, objects in pairs]


def ranges(spans):
    return [(span.first, span.last, span.forward, span.backward) for span in spans]


def test_both_directions_reach_every_frame_once():
    spans = plan(keys((10, [1]), (20, [1])), [1], 0, 30, "both")
    assert ranges(spans) == [(0, 9, False, True), (10, 19, True, True), (20, 30, True, False)]


def test_forward_leaves_the_frames_before_the_first_key_frame_alone():
    spans = plan(keys((10, [1]), (20, [1])), [1], 0, 30, "forward")
    assert ranges(spans) == [(10, 19, True, False), (20, 30, True, False)]


def test_backward_leaves_the_frames_after_the_last_key_frame_alone():
    spans = plan(keys((10, [1]), (20, [1])), [1], 0, 30, "backward")
    assert ranges(spans) == [(0, 9, False, True), (10, 19, False, True)]


def test_neighbouring_key_frames_leave_nothing_to_blend():
    assert ranges(plan(keys((4, [1]), (5, [1])), [1], 4, 5, "both")) == [(4, 4, True, False), (5, 5, True, False)]


def test_key_frames_outside_the_trimmed_range_bound_no_span():
    assert ranges(plan(keys((2, [1]), (8, [1])), [1], 5, 9, "both")) == [(5, 7, False, True), (8, 9, True, False)]


def test_a_key_frame_speaks_for_objects_of_earlier_ones_and_not_for_later_ones():
    spans = plan(keys((0, [1]), (5, [2]), (9, [1])), [1, 2], 0, 9, "both")
    assert [span.start.speaks for span in spans] == [(1,), (1, 2), (1, 2)]
    assert all(span.objects == (1, 2) for span in spans)


def test_forward_follows_an_object_only_from_the_key_frame_that_introduces_it():
    spans = plan(keys((0, [1]), (5, [2])), [1, 2], 0, 9, "forward")
    assert [span.objects for span in spans] == [(1,), (1, 2)]


def test_a_changed_key_frame_makes_only_the_spans_beside_it_new():
    before = plan(keys((0, [1]), (5, [1]), (10, [1])), [1], 0, 20, "both")
    changed = [*keys((0, [1])), KeyFrame(5, "other", (1,)), *keys((10, [1]))]
    after = plan(changed, [1], 0, 20, "both")
    assert [new.is_served_by(old) for new, old in zip(after, before, strict=True)] == [False, False, True]


def test_results_serve_a_narrower_trim_and_fewer_objects_but_no_wider_ones():
    key = keys((0, [1, 2]))
    wide, narrow = plan(key, [1, 2], 0, 20, "both")[0], plan(key, [1, 2], 0, 10, "both")[0]
    assert narrow.is_served_by(wide) and not wide.is_served_by(narrow)
    assert plan(key, [1], 0, 20, "both")[0].is_served_by(wide)


def test_the_blend_falls_by_distance_from_the_start():
    span = plan(keys((0, [1]), (4, [1])), [1], 0, 4, "both")[0]
    assert [span.forward_weight(frame) for frame in range(4)] == [1, 0.75, 0.5, 0.25]
