"""What comes from elsewhere is bounded: the limits, where they are set, and the one place that computes a size."""

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from tests.demo.demo_clips import write_clip
from tests.hostile import gif
from tests.video.clips import write_clip as write_any_clip
from xmem.engine.propagator import Propagator
from xmem.errors import InputError
from xmem.limits import (
    PROFILES,
    Limits,
    TooLarge,
    TooLong,
    check_shape,
    inference_size,
    limits,
    profile_of,
    put,
    smaller,
)
from xmem.review.preflight import preflight
from xmem.session import Session, TrackSettings
from xmem.video.source import DEMUXERS, SOUND_DECODERS, VIDEO_DECODERS


@pytest.mark.parametrize(
    ("width", "height", "size", "expected"),
    [
        (854, 480, None, (480, 854)),
        (854, 480, 240, (240, 427)),
        (480, 854, 240, (427, 240)),
        (4096, 2160, None, (2160, 4096)),
    ],
)
def test_the_shorter_side_is_the_inference_size(width, height, size, expected):
    assert inference_size(width, height, size) == expected


@pytest.mark.parametrize(("width", "height"), [(4000, 8), (8, 4000), (2100, 100)])
def test_extreme_shapes_are_refused_at_any_size(width, height):
    """Of 4000x8 a shorter side of 384 would make 192,000x384."""
    for size in (None, 16, 384):
        with pytest.raises(InputError, match="20 times as long"):
            inference_size(width, height, size)


def test_the_pixels_of_inference_are_bounded_and_the_refusal_says_what_fits():
    with pytest.raises(InputError, match="at most 2250 pixels") as refusal:
        inference_size(320, 180, 5000)
    assert "8888x5000" in str(refusal.value)
    assert inference_size(320, 180, 2250) == (2250, 4000)
    with pytest.raises(InputError):
        inference_size(320, 180, 2251)


def test_an_engine_refuses_before_it_holds_anything(tiny_model):
    for shape, size in (((8, 4000), 384), ((180, 320), 5000)):
        engine = Propagator(tiny_model, size=size)
        frame, mask = np.zeros((*shape, 3), np.uint8), np.ones(shape, np.uint8)
        with pytest.raises(InputError):
            engine.step(frame, mask)
        assert not engine.objects and engine.memory_use().bytes == 0


def test_a_tiny_gif_of_an_extreme_shape_is_no_video(tmp_path):
    path = gif(tmp_path / "wide.gif", 4000, 8)
    assert path.stat().st_size < 321
    for use in (preflight, lambda source: Session.create(source, tmp_path / "session")):
        with pytest.raises(InputError, match="20 times as long"):
            use(path)
    assert not (tmp_path / "session").exists()


@pytest.mark.parametrize("size", [0, 15, -1, 384.0, float("inf"), float("nan"), True, "384"])
def test_settings_take_whole_numbers_of_pixels_only(size):
    with pytest.raises(InputError, match="whole number"):
        TrackSettings(size=size)


def test_limits_come_from_the_environment():
    assert Limits.of({}) == Limits()
    space = Limits.of({"SPACE_ID": "somebody/xmem", "XMEM_LIMIT_KEY_FRAMES": "7"})
    assert (space.frames, space.key_frames, space.aspect) == (18_000, 7, 20)
    assert Limits.of({"XMEM_LIMIT_FRAMES": "300", "OTHER": "x"}) == Limits(frames=300)
    for value in ("0", "-5", "many", "1e6", ""):
        with pytest.raises(InputError, match=r"(?i)frames"):
            Limits.of({"XMEM_LIMIT_FRAMES": value})
    assert limits() is limits()


def test_a_profile_is_chosen_or_that_of_the_host():
    assert profile_of({}) == "own" and profile_of({"SPACE_ID": "a/b"}) == "space"
    assert profile_of({"SPACE_ID": "a/b", "SPACES_ZERO_GPU": "true"}) == "gpu"
    assert profile_of({"SPACE_ID": "a/b", "XMEM_PROFILE": "own"}) == "own"
    with pytest.raises(InputError, match="own, space, gpu"):
        Limits.of({"XMEM_PROFILE": "huge"})


def test_flags_count_before_the_environment_and_wrong_ones_change_nothing():
    environment = {"XMEM_LIMIT_FRAMES": "300", "XMEM_PROFILE": "gpu"}
    put(environment, "space", ["frames=500", "aspect=3"])
    found = Limits.of(environment)
    assert (found.frames, found.aspect, found.inference_pixels) == (500, 3, 1_000_000)
    before = dict(environment)
    for wrong in ("frames", "frames=", "frames=0", "frame=5", "=5"):
        with pytest.raises(InputError):
            put(environment, "own", ["aspect=9", wrong])
    assert environment == before


def test_long_videos_and_many_objects_are_refused(tmp_path, monkeypatch):
    allowed = Limits(seconds=1, objects=2)
    monkeypatch.setattr("xmem.limits.limits", lambda: allowed)
    short, long = (write_clip(tmp_path / f"{frames}.mp4", 64, 48, frames) for frames in (12, 40))
    with pytest.raises(InputError, match=r"1.6 seconds long, and videos up to 1 seconds"):
        Session.create(long, tmp_path / "long")
    session = Session.create(short, tmp_path / "short")
    mask = np.zeros((48, 64), np.uint8)
    mask[0, :2] = (1, 2)
    session.set_key_frame(0, mask)
    mask[0, 0] = 3
    with pytest.raises(InputError, match="2 objects at most, not 3"):
        session.set_key_frame(1, mask)
    assert len(session.key_frames) == 1


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "libx264"), ("avi", "mpeg4")])
@pytest.mark.parametrize(("allowed", "count"), [({"seconds": 1}, 25), ({"frames": 30}, 30), ({"frames": 100}, 40)])
def test_of_a_video_that_is_too_long_its_beginning_is_taken(tmp_path, monkeypatch, suffix, codec, allowed, count):
    for place in ("xmem.limits", "xmem.video.index", "xmem.session.session"):
        monkeypatch.setattr(f"{place}.limits", lambda: Limits(**allowed))
    images = [np.full((48, 64, 3), 20 + 5 * i, np.uint8) for i in range(40)]
    path = write_any_clip(tmp_path / f"long.{suffix}", images, codec=codec, options={"g": "7"})
    if count < 40:
        with pytest.raises(TooLong) as refused:
            Session.create(path, tmp_path / "refused")
        part = "1 seconds" if "seconds" in allowed else "30 frames"
        assert refused.value.offer == f"Take its first {part}"
    session = Session.create(path, tmp_path / "session", fit=True)
    assert (session.frame_count, session.last) == (count, count - 1)
    assert session.info.frame_count == count and session.info.duration == pytest.approx(count / 25, abs=0.05)
    assert abs(int(session.image(count - 1)[20, 20, 0]) - (20 + 5 * (count - 1))) < 4
    with session.access() as access:
        assert [frame.index for frame in access.forward(0, count - 1)] == list(range(count))
        with pytest.raises(InputError, match=f"no frame {count}"):
            access.frame(count)
        assert access.finished == (count == 40), "else an export would have the sound of all of it"
    bundle = session.save_bundle(tmp_path / "work.zip")
    assert Session.open_bundle(bundle, tmp_path / "again").info == session.info
    for place in ("xmem.limits", "xmem.video.index", "xmem.session.session"):
        monkeypatch.setattr(f"{place}.limits", lambda: Limits(frames=9))
    with pytest.raises(InputError, match="more than the 9 frames"):
        Session.open_bundle(bundle, tmp_path / "elsewhere")
    for place in ("xmem.limits", "xmem.video.index", "xmem.session.session"):
        monkeypatch.setattr(f"{place}.limits", lambda: Limits(seconds=1))
    if count == 25:
        assert Session.open_bundle(bundle, tmp_path / "elsewhere").frame_count == 25
        return
    with pytest.raises(TooLong, match=r"1\.6 seconds long, and videos up to 1 seconds are read here"):
        Session.open_bundle(bundle, tmp_path / "elsewhere")


def test_of_a_video_that_is_too_large_a_smaller_copy_is_made_with_its_times_and_sound(tmp_path, monkeypatch):
    """Frames grow brighter, at times of their own; a part of them is taken at once where they are too many."""
    for place in ("xmem.limits", "xmem.session.session"):
        monkeypatch.setattr(f"{place}.limits", lambda: Limits(frame_pixels=2000, shrunk_pixels=48 * 64, frames=9))
    images = [np.full((48, 64, 3), 20 + 10 * i, np.uint8) for i in range(12)]
    times = [0, 1, 2, 4, 7, 8, 9, 11, 12, 13, 14, 15]
    path = write_any_clip(tmp_path / "large.mp4", images, times=times, audio="aac")
    with pytest.raises(TooLarge, match=r"64x48, more than the 0.002 megapixels") as refused:
        Session.create(path, tmp_path / "refused")
    assert refused.value.offer == "Make it smaller (50x38)"
    session = Session.create(path, tmp_path / "session", fit=True)
    assert (session.info.width, session.info.height, session.frame_count) == (50, 38, 9) and session.info.has_audio
    with session.access() as access:
        frames = list(access.forward(0, 8))
    assert [round(float(frame.time) * 25) for frame in frames] == times[:9]
    assert [abs(int(frame.image.mean()) - (20 + 10 * i)) < 4 for i, frame in enumerate(frames)] == [True] * 9
    assert session.name == "large" and [item.name for item in session.folder.glob("video*")] == ["video.mp4"]
    larger = write_any_clip(tmp_path / "huge.mp4", [np.zeros((48, 66, 3), np.uint8)] * 3)
    with pytest.raises(InputError, match=r"66x48, more than the 0\.002 megapixels") as beyond:
        Session.create(larger, tmp_path / "huge", fit=True)
    assert not isinstance(beyond.value, TooLarge), "what is beyond the larger bound stays refused, without an offer"


def test_smaller_keeps_the_shape_within_1280x720(monkeypatch):
    monkeypatch.setattr("xmem.limits.limits", lambda: Limits.of({"XMEM_PROFILE": "space"}))
    assert [smaller(*size) for size in ((7680, 4320), (4320, 7680), (5000, 5000), (8000, 2000), (3840, 2160))] == [
        (1280, 720),
        (720, 1280),
        (720, 720),
        (1280, 320),
        (3840, 2160),
    ]


def test_shapes_at_and_above_the_limit(monkeypatch):
    allowed = Limits(frame_pixels=100 * 50, aspect=4)
    monkeypatch.setattr("xmem.limits.limits", lambda: allowed)
    check_shape(100, 50, "It is")
    check_shape(100, 25, "It is")
    for width, height in ((101, 50), (101, 25), (0, 5), (5, -1)):
        with pytest.raises(InputError, match=r"^It is "):
            check_shape(width, height, "It is")


TEXT = (Path(__file__).parents[1] / "docs" / "limits.md").read_text()


def test_the_table_of_the_documents_is_that_of_the_code():
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|([^|]*)\|([^|]*)\|$", TEXT, re.MULTILINE)
    found = {name: [int(re.sub(r"\(.*\)|,", "", cell)) for cell in cells] for name, *cells in rows}
    profiles = [Limits(**values) for values in PROFILES.values()]
    assert found == {field.name: [getattr(each, field.name) for each in profiles] for field in fields(Limits)}
    assert list(PROFILES) == ["own", "space", "gpu"], "the table's columns"


def test_the_documents_name_every_container_and_decoder():
    text = TEXT.partition("## How it was tried")[0]
    lists = [
        re.sub(r"\s*\(.*?\)", "", part).replace("\n", " ").strip(" .") for part in re.findall(r": ([^:]*?\.)\n", text)
    ]
    containers, pictures, sound = (tuple(re.split(r",\s+", part)) for part in lists[-3:])
    assert (containers, pictures, sound) == (DEMUXERS, VIDEO_DECODERS, SOUND_DECODERS)


def test_a_video_with_as_many_pixels_as_are_allowed_is_read(tmp_path, monkeypatch):
    """Its pictures are coded in whole blocks, and so a little larger."""
    for place in ("xmem.limits", "xmem.video.source"):
        monkeypatch.setattr(f"{place}.limits", lambda: Limits(frame_pixels=300 * 300))
    path = write_any_clip(tmp_path / "exact.mp4", [np.full((300, 300, 3), 90, np.uint8)] * 3)
    assert Session.create(path, tmp_path / "session").frame_count == 3
