"""The timeline and its suggestions, frames by time, masks cleaned up without a run."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from demo_clips import index_of, write_clip

from demo import api
from demo.html import plot, timeline
from demo.runs import track
from demo.stage import check, paint
from demo.visit import studio
from xmem.render.masks import write_index_mask
from xmem.session import SessionObject
from xmem.session.evidence import Evidence
from xmem.session.stats import ObjectStats

FIRST = (1, 60, 90, 40, 120)


@pytest.fixture
def tracked(act, session, visitor, painted, chosen):
    act(paint.stroke, frame=0, mask=painted(FIRST), colors={"1": 2})
    act(paint.change_object, id=1, name="<Square>")
    list(track.run(visitor, "neighbours", *chosen))
    return studio.session_of(visitor)


def test_before_a_result_the_timeline_has_frames_alone(visitor, session):
    html, worth = check.overview(visitor)
    assert 'data-first="0" data-last="11"' in html and "b-line" not in html and worth == ""
    assert check.overview(SimpleNamespace(session_hash="another")) == ("", "")


def test_the_timeline_names_objects_and_leads_to_key_frames_and_doubtful_frames(tracked, visitor):
    html, worth = check.overview(visitor)
    assert "&lt;Square&gt;" in html and "<Square>" not in html
    assert 'class="t-key" tabindex="-1" data-frame="0"' in html and 'data-first="0" data-last="11"' in html
    assert html.count("b-line") == 1
    for suggestion in check.suggestions(tracked, tracked.stats()):
        assert f'data-frame="{suggestion.frame}"' in html and f'data-frame="{suggestion.frame}"' in worth


def rows_of(count: int) -> list[ObjectStats]:
    return [ObjectStats(i, 1, 100 + i % 7, 0.5 if i == 1234 else 0.9, 1.0, None, None) for i in range(count)]


def test_a_long_clip_is_drawn_with_few_points_and_its_worst_frame_stays():
    rows = rows_of(5000)
    kept = plot.thinned(np.array([row.certainty for row in rows]))
    assert len(kept) == plot.MAX_POINTS and 1234 in kept
    svg = timeline.bands(rows, [SessionObject(1, "One", 0)], plot.Axis(0, 4999), [], [])
    line = re.search(r'class="b-line" points="([^"]+)"', svg).group(1)
    assert len(line.split()) == plot.MAX_POINTS


def test_the_line_shows_what_certainty_alone_does_not():
    rows = [replace(row, certainty=0.96, evidence=Evidence(0.9 if row.frame == 40 else 0.1)) for row in rows_of(100)]
    line = [row.certainty for row in timeline.judged(rows, [], [0])]
    assert min(line) == line[40] < 0.85 and line[20] > 0.95 and line[0] == 1


def test_frames_that_were_not_computed_are_gaps():
    rows = [row for row in rows_of(100) if not 40 <= row.frame < 60]
    svg = timeline.bands(rows, [SessionObject(1, "One", 0)], plot.Axis(0, 99), [50], [0])
    assert svg.count("b-line") == 2 and svg.count('class="b-cut"') == 1 and svg.count('class="b-key"') == 1


@pytest.mark.parametrize(("seconds", "frame"), [(0, 0), (0.039, 0), (0.04, 1), (0.2, 5), (0.43, 10), (9, 11)])
def test_a_time_of_the_result_video_is_a_frame(visitor, session, seconds, frame):
    assert api.frame_at(seconds, visitor) == frame


def test_frames_of_variable_length_are_found_by_their_own_times(workspaces, tmp_path):
    ticks = [0, 4, 8, 50, 54, 58, 100, 104, 130, 134, 138, 142]
    request = SimpleNamespace(session_hash="variable")
    studio.begin_session(request, write_clip(tmp_path / "variable.mp4", 64, 48, ticks=ticks))
    for frame, tick in enumerate(ticks):
        assert api.frame_at(tick / 100, request) == frame
        assert api.frame_at(tick / 100 + 0.03, request) == frame
    assert api.frame_at(0.49, request) == 2 and api.frame_at(0.99, request) == 5


def test_times_count_from_the_first_frame_of_the_trimmed_range(visitor, session):
    session.set_trim(4, 9)
    assert api.frame_at(0, visitor) == 4 and api.frame_at(0.08, visitor) == 6 and api.frame_at(5, visitor) == 9


def test_cleaning_up_changes_computed_masks_without_a_run_and_can_be_taken_back(tracked, visitor, chosen):
    # the tiny network's masks cover the frame: put one with an edge in its place
    write_index_mask(next(tracked.folder.glob("spans/*/masks/00005.png")), index_of(FIRST))
    before = tracked.mask(5)
    scene, note, refreshed = check.set_post(3, True, True, 5, visitor)
    assert note == "" and isinstance(refreshed, int) and scene["frame"] == 5
    grown = studio.session_of(visitor).mask(5)
    assert (grown[57:93, 40:120] == 1).all() and (before[57:93, 40:120] == 1).sum() == 30 * 80
    assert "up to date" in track.waiting(visitor, "neighbours", *chosen)[0]
    check.set_post(0, False, False, 5, visitor)
    np.testing.assert_array_equal(studio.session_of(visitor).mask(5), before)
