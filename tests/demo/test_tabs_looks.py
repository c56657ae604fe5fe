"""The tab Looks: pictures of the visitor's own frame, a preview, and the whole video in another look."""

import re

import cv2
import gradio as gr
import numpy as np
import pytest
from PIL import Image

from demo.runs.follow import follow
from demo.tabs import common as tabs
from demo.tabs import looks
from demo.tabs.looks import MIDDLE
from demo.visit import studio
from tests.demo.tabs_visitor import FRAMES, last_of, make_session, own_workspaces, visit
from xmem import InputError
from xmem.render.styles import STYLES, Style
from xmem.session import Session
from xmem.video import FrameReader, probe

PLAIN = ("tint", 0.5, 0.5, "#00b140", None)


@pytest.fixture(scope="module")
def tracked(clip, tiny_model, tmp_path_factory):
    return make_session(clip, tiny_model, tmp_path_factory.mktemp("looks") / "session")


@pytest.fixture
def spaces(tmp_path, monkeypatch):
    made = own_workspaces(tmp_path, monkeypatch)
    yield made
    made.close()


@pytest.fixture
def visitor(spaces, tracked):
    return visit(spaces, tracked)


@pytest.fixture
def newcomer(spaces):
    return visit(spaces, None)


@pytest.fixture
def newcomer_page(spaces):
    return visit(spaces, None, "newcomer")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("#00B140", "#00b140"),
        ("#00b140ff", "#00b140"),
        ("rgba(0, 177.4, 64, 1)", "#00b140"),
        ("rgb(255,255,255)", "#ffffff"),
    ],
)
def test_colours_are_read_in_every_form_that_a_picker_gives(given, expected):
    assert looks.hex_colour(given) == expected


@pytest.mark.parametrize("given", ["green", "#12", "url(x)", "rgba(1,2)"])
def test_a_colour_that_is_none_is_refused_in_a_sentence(given):
    with pytest.raises(InputError, match="like #00b140"):
        looks.hex_colour(given)


def test_every_look_has_a_picture_of_the_visitors_own_frame(visitor):
    html = looks.gallery("#00b140", None, 4, visitor)
    pictures = re.findall(r'nth-of-type\((\d+)\) { --picture: url\("data:image/jpeg;base64,([^"]+)"\)', html)
    assert [int(place) for place, _ in pictures] == list(range(1, len(STYLES) + 1))
    assert len({data for _, data in pictures}) >= len(STYLES) - 2  # flat areas look alike blurred; one lacks an image
    assert "--shape: 320 / 180" in html


def test_before_a_result_the_gallery_says_what_to_do(newcomer):
    assert "Paint and run first" in looks.gallery("#00b140", None, 1, newcomer)


@pytest.mark.parametrize("kind", STYLES)
def test_the_preview_is_the_frame_in_the_chosen_look(visitor, kind):
    picture = looks.looks_preview(kind, 0.5, 0.5, "#00b140", None, 3, visitor)
    (shown, message), *more = looks.preview(kind, 0.5, 0.5, "#00b140", None, 4, visitor)
    assert f'alt="Frame 4 in the look: {STYLES[kind]}"' in shown
    assert picture.shape == (180, 320, 3) and not more
    plain = studio.session_of(visitor).image(3)
    assert np.abs(picture.astype(int) - plain).mean() > 0.02, "it differs from the plain frame"
    assert ("No picture is chosen" in message) == (kind == "cutout_image")


def test_a_background_picture_is_behind_the_cut_out(visitor, tmp_path):
    Image.new("RGB", (64, 36), (250, 0, 250)).save(tmp_path / "beach.png")
    choice = ("cutout_image", 0.5, 0.5, "#00b140", str(tmp_path / "beach.png"))
    assert tuple(looks.looks_preview(*choice, 0, visitor)[5, 5]) == (250, 0, 250)
    assert [message for _, message in looks.preview(*choice, 1, visitor)] == [""]


def test_a_background_picture_of_another_visitor_is_refused(visitor, spaces):
    path = spaces.cache / "0" / "beach.png"
    path.parent.mkdir(parents=True)
    Image.new("RGB", (64, 36)).save(path)
    assert studio.is_own(visit(spaces, None, "another"), path), "it was the first to use it"
    with pytest.raises(gr.Error, match="another visitor's"):
        looks.looks_preview("cutout_image", 0.5, 0.5, "#00b140", str(path), 0, visitor)


def test_a_frame_outside_the_video_stands_for_its_middle(visitor):
    session = studio.session_of(visitor)
    assert looks.tracked_frame(session, 3).frame.index == 3
    assert looks.tracked_frame(session, MIDDLE).frame.index == looks.tracked_frame(session, 500).frame.index == 5


def test_only_the_controls_that_change_a_look_are_shown():
    shown = {kind: [update["visible"] for update in looks.controls(kind)] for kind in STYLES}
    assert shown["tint"] == [True, False, False, False]
    assert shown["blur_background"] == [False, True, False, False]
    assert shown["cutout_colour"] == [False, False, True, False]
    assert shown["cutout_image"] == [False, False, False, True]
    assert shown["contour"] == [False, False, False, False]


@pytest.mark.parametrize("kind", STYLES)
def test_a_control_is_shown_exactly_where_it_changes_the_picture(visitor, kind):
    def drawn(opacity=0.4, strength=0.4, background="#00b140"):
        return looks.looks_preview(kind, opacity, strength, background, None, 3, visitor)

    changes = [
        (drawn(opacity=0.8) != drawn()).any(),
        (drawn(strength=0.9) != drawn()).any(),
        (drawn(background="#ff00ff") != drawn()).any(),
    ]
    shown = [update["visible"] for update in looks.controls(kind)][:3]
    assert shown == changes if kind != "cutout_image" else shown == [False] * 3


def test_applying_a_look_renders_the_video_and_keeps_the_style(visitor, tmp_path, monkeypatch):
    monkeypatch.setattr("demo.runs.follow.HEARTBEAT_SECONDS", 0.01)
    steps, (panel, video, download) = last_of(
        looks.apply("cutout_colour", 0.5, 0.5, "#00b140", None, visitor), tmp_path
    )
    assert "12 frames" in panel and "without tracking again" in panel
    assert video == download and video.name == "My-clip-1-overlay.mp4" and probe(video).frame_count == FRAMES
    with FrameReader(video) as reader:
        corner = next(iter(reader)).image[4:12, 4:12].reshape(-1, 3).mean(axis=0)
    assert np.abs(corner - (0, 177, 64)).max() < 12, "the background is the chosen green"
    assert studio.session_of(visitor).style.kind == "cutout_colour"
    assert "Rendering" in steps[0][0] and 'role="progressbar"' in steps[0][0]


def drawn_from(visitor, frame):
    session = studio.session_of(visitor)
    return session, looks.tracked_frame(session, frame), looks.style_of(*PLAIN, visitor)


def test_programs_count_frames_from_0_and_get_plain_files(visitor):
    expected = looks.render(*drawn_from(visitor, 3))
    np.testing.assert_array_equal(looks.looks_preview(*PLAIN, 3, visitor), expected)
    assert [path.rsplit("/", 1)[1] for path in looks.apply_style(*PLAIN, visitor)] == ["My-clip-1-overlay.mp4"]


def test_a_video_is_handed_out_once_though_the_steps_that_made_it_take_a_while_to_end(visitor, monkeypatch):
    def ending_slowly(steps):
        for step in follow(steps):
            yield step
        yield step

    monkeypatch.setattr(looks, "follow", ending_slowly)
    assert len(list(looks.apply_style(*PLAIN, visitor))) == 1


def test_a_changed_result_is_drawn_anew_on_its_middle_frame(visitor, newcomer_page):
    slider, pictures, picture, message = looks.refresh(*PLAIN, 1, visitor)
    assert (slider["minimum"], slider["maximum"], slider["value"]) == (1, FRAMES, 6)
    assert "--picture" in pictures and 'alt="Frame 6 in' in picture and message == ""
    _, pictures, picture, _ = looks.refresh(*PLAIN, 1, newcomer_page)
    assert "Paint and run first" in pictures and picture == ""


def test_rendering_never_touches_masks(visitor, tmp_path):
    before = [studio.session_of(visitor).mask(i) for i in range(FRAMES)]
    last_of(looks.apply("blur_background", 0.5, 0.9, "#00b140", None, visitor), tmp_path)
    for i, mask in enumerate(before):
        np.testing.assert_array_equal(studio.session_of(visitor).mask(i), mask)


def test_stopping_leaves_video_and_style_as_they_were(visitor, monkeypatch):
    monkeypatch.setattr("demo.runs.follow.HEARTBEAT_SECONDS", 0.01)
    steps = looks.apply(*PLAIN, visitor)
    tabs.stop_file(studio.workspace_of(visitor), looks.NAME).touch()
    *_, (panel, video, _) = steps
    assert "Stopped" in panel and not isinstance(video, str)
    assert studio.session_of(visitor).style == Style()
    assert not [
        path for path in studio.workspace_of(visitor).path.iterdir() if path.is_dir() and path.name != "session"
    ]
    assert len(list(looks.apply_style(*PLAIN, visitor))) == 1, "the stop was not for the next one"


def test_a_cut_out_on_a_picture_that_is_not_there_is_a_sentence_and_changes_nothing(visitor):
    steps = looks.apply("cutout_image", 0.5, 0.5, "#00b140", None, visitor)
    seen = []
    with pytest.raises(gr.Error, match="image"):
        seen += steps
    assert studio.session_of(visitor).style == Style()


def test_without_a_result_both_say_so(newcomer, spaces, clip):
    for steps in (looks.preview(*PLAIN, 0, newcomer), looks.apply(*PLAIN, newcomer)):
        with pytest.raises(gr.Error, match="no video yet"):
            list(steps)
    Session.create(clip, spaces.of("visitor").session_folder)
    with pytest.raises(gr.Error, match="nothing to take away yet"):
        list(looks.apply(*PLAIN, newcomer))


def test_a_small_copy_of_a_frame_keeps_masks_and_mattes_together(visitor):
    full = looks.tracked_frame(studio.session_of(visitor), 0)
    small = looks.smaller(full, 160)
    assert small.frame.image.shape == (90, 160, 3) and small.mask.shape == small.matte(1).shape == (90, 160)
    expected = cv2.resize(full.mask, (160, 90), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(small.mask, expected)
    assert looks.smaller(full, 320) is full


def test_during_a_run_the_look_is_not_applied(visitor):
    with studio.workspace_of(visitor).new_folder(studio.RUN), pytest.raises(gr.Error, match="A run is going on"):
        list(looks.apply(*PLAIN, visitor))
