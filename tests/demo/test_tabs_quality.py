"""The tab Quality: figures, plot and pictures of the result against known masks, and what bad masks are answered."""

import csv
import io
import re
import zipfile

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from demo.html.scores import Line, Plot
from demo.tabs import quality
from demo.visit import studio
from tests.demo.tabs_visitor import FRAMES, KEY_FRAMES, last_of, make_session, own_workspaces, visit
from xmem.scoring.quality import FrameScore


@pytest.fixture(scope="module")
def tracked(clip, tiny_model, tmp_path_factory):
    return make_session(clip, tiny_model, tmp_path_factory.mktemp("quality") / "session")


@pytest.fixture
def spaces(tmp_path, monkeypatch):
    made = own_workspaces(tmp_path, monkeypatch)
    yield made
    made.close()


@pytest.fixture
def visitor(spaces, tracked):
    return visit(spaces, tracked)


def archive(path, masks, name="{:05d}.png"):
    """A ZIP of index masks, by frame."""
    with zipfile.ZipFile(path, "w") as file:
        for frame, mask in masks.items():
            image = Image.fromarray(mask, "P")
            image.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
            data = io.BytesIO()
            image.save(data, "PNG")
            file.writestr(name.format(frame), data.getvalue())
    return path


@pytest.fixture
def own_masks(visitor):
    session = studio.session_of(visitor)
    return {frame: session.mask(frame) for frame in range(FRAMES)}


def test_the_result_against_itself_is_perfect(visitor, own_masks, tmp_path):
    _, (message, report, table) = last_of(
        quality.compare_masks(str(archive(tmp_path / "a.zip", own_masks)), visitor), tmp_path
    )
    assert message == ""
    assert re.findall(r"<dd>([\d.]+)</dd>", report) == ["100.0", "100.0", "100.0", str(FRAMES - len(KEY_FRAMES))]
    assert "Every scored frame is perfect" in report and "<img" not in report
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert table.name == "My-clip-1-quality.csv"
    assert {int(row["frame"]) for row in rows} == set(range(FRAMES)) - set(KEY_FRAMES), "painted frames are not scored"
    assert {(row["J"], row["F"]) for row in rows} == {("1.0000", "1.0000")}


def test_a_frame_that_differs_is_shown_first_with_both_outlines(visitor, own_masks, tmp_path):
    own_masks[7] = np.roll(own_masks[7], 60, axis=1)
    path = archive(tmp_path / "b.zip", own_masks, "Annotations/480p/clip/{:05d}.png")
    _, (_, report, table) = last_of(quality.compare_masks(str(path), visitor), tmp_path)
    shown = re.findall(r'data-frame="(\d+)"', report)
    assert shown == ["7"], "only what differs is shown"
    assert "<strong>Frame 8</strong>" in report and 'alt="Frame 8: outline' in report, "people count from 1"
    low = {int(row["frame"]) for row in csv.DictReader(table.open(encoding="utf-8")) if float(row["J"]) < 1}
    assert low == {7}


@pytest.mark.parametrize("kind", ["none", "text", "size", "names"])
def test_unusable_masks_are_a_sentence_and_the_work_stays(visitor, own_masks, tmp_path, kind):
    path = tmp_path / "bad.zip"
    if kind == "text":
        path.write_text("no archive")
    elif kind == "size":
        archive(path, {i: mask[::2, ::2] for i, mask in own_masks.items()})
    elif kind == "names":
        archive(path, {1: own_masks[1], 2: own_masks[2]}, "night-{:03d}x999.png")
    steps = quality.compare_masks(None if kind == "none" else str(path), visitor)
    with pytest.raises(gr.Error) as error:
        for message, _report, _table in steps:
            last = message
    assert 'role="alert"' in last and str(error.value).count(".") >= 1
    assert "Something went wrong" not in str(error.value)


def test_frames_that_were_not_tracked_are_not_scored(visitor):
    with studio.editing(visitor) as session:
        session.set_trim(0, 8)
    left_out = quality.not_scored(studio.session_of(visitor))
    assert left_out == [*KEY_FRAMES, 9, 10, 11]


def test_the_worst_frames_are_no_neighbours_and_never_perfect():
    values = {1: 0.2, 2: 0.1, 3: 0.3, 6: 0.5, 7: 1.0, 9: 0.9}

    class Report:
        rows = tuple(FrameScore(frame, 1, value, value) for frame, value in values.items())

    assert quality.worst_frames(Report()) == [2, 6, 9]


def test_a_change_after_scoring_is_mentioned_only_where_something_was_scored():
    assert "changed since" in quality.outdated("<dl>…</dl>") and quality.outdated("") == ""


@pytest.mark.parametrize("corner", [(0, 0), (150, 300), (80, 150)])
def test_pictures_show_the_object_in_the_frames_shape(corner):
    mask = np.zeros((180, 320), bool)
    mask[corner[0] : corner[0] + 20, corner[1] : corner[1] + 20] = True
    rows, columns = quality.around(mask)
    shown = mask[rows, columns]
    assert shown.sum() == mask.sum() and shown.shape[1] / shown.shape[0] == pytest.approx(320 / 180, rel=0.02)
    assert shown.shape[0] < 90


def test_an_empty_mask_shows_the_whole_frame():
    assert np.zeros((90, 160), bool)[quality.around(np.zeros((90, 160), bool))].shape == (90, 160)


def test_both_outlines_are_drawn_where_they_are():
    image = np.zeros((180, 320, 3), np.uint8)
    found, truth = np.zeros((180, 320), np.uint8), np.zeros((180, 320), np.uint8)
    found[40:80, 40:80], truth[100:140, 200:240] = 1, 1
    drawn = quality.contours(image, found, truth)
    assert (drawn == quality.FOUND_COLOUR).all(axis=2).any() and (drawn == quality.TRUTH_COLOUR).all(axis=2).any()


def test_a_plot_counts_frames_for_people_and_stays_small_for_long_clips():
    long = {frame: 0.5 for frame in range(5000)}
    html = Plot("J by frame", 0, 4999, [Line("J", "red", long)], {(10, 0.5): "1"}).html()
    assert ">1</span>" in html and ">5000</span>" in html
    assert html.count("<rect") <= 400 and len(html) < 200_000


def test_a_plot_of_one_frame_can_be_drawn():
    assert "50.00,50.00" in Plot("J", 3, 3, [Line("J", "red", {3: 0.5})]).html()


def test_programs_get_the_scores_as_plain_values(visitor, own_masks, tmp_path):
    found = quality.quality(str(archive(tmp_path / "a.zip", own_masks)), visitor)
    assert found["j"] == found["f"] == found["jf"] == 1 and [item["id"] for item in found["objects"]] == [1, 2]
    assert len(found["rows"]) == 2 * (FRAMES - len(KEY_FRAMES))
    assert set(found["rows"][0]) == {"frame", "object", "j", "f"}
    with pytest.raises(gr.Error, match="choose a ZIP"):
        quality.quality(None, visitor)
