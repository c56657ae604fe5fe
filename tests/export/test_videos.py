"""Videos for players and editors: right pictures at the right times, with alpha where it is promised."""

import base64
import threading
import zipfile
from pathlib import Path

import av
import cv2
import imageio.v3 as iio
import numpy as np
import pytest

from tests.export.discs import SAMPLE, UNEVEN_SECONDS, DiscSource, finish
from tests.plain_pipeline import make_plain
from tests.video.clips import flat_images, write_clip
from xmem.export import export
from xmem.render.overlay import tint
from xmem.render.palette import color_of
from xmem.render.styles import Style


def _opencv(path: Path) -> np.ndarray:
    """uint8 [N, H, W, 3] RGB of all frames."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1])
    capture.release()
    return np.stack(frames)


def _alpha_frames(path: Path) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Seconds, RGB uint8 [H, W, 3] and alpha float [H, W] (0 to 255) of each frame of a VP9 or ProRes file."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        is_webm = stream.codec_context.name == "vp9"  # FFmpeg's own decoder leaves alpha out
        decoder = av.CodecContext.create("libvpx-vp9", "r") if is_webm else stream.codec_context
        found = []
        for packet in container.demux(stream):
            for frame in decoder.decode(packet if packet.size else None):
                deep = frame.format.name.endswith("12le")
                plane = frame.planes[3]
                alpha = np.frombuffer(plane, np.uint16 if deep else np.uint8).reshape(plane.height, -1)
                alpha = alpha[:, : plane.width] * (255 / (4095 if deep else 255))
                time = float(frame.pts * stream.time_base)
                found.append((time, frame.to_ndarray(format="rgb24"), alpha))
        return found


def _sound(path: Path) -> tuple[str, float, float, np.ndarray]:
    """Codec, seconds at which it starts and ends, and samples float [channels, N]."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        frames = list(container.decode(stream))
        samples = np.concatenate(
            [
                f.to_ndarray().reshape(-1, f.layout.nb_channels).T if not f.format.is_planar else f.to_ndarray()
                for f in frames
            ],
            axis=1,
        )
        last = frames[-1]
        end = float(last.pts * last.time_base) + last.samples / last.sample_rate
        name = stream.codec_context.name.removeprefix("lib")
        return name, float(frames[0].pts * frames[0].time_base), end, samples.astype(float)


def test_overlay_shows_the_style_in_time_with_sound(source, tmp_path):
    """Read by OpenCV: the tint in the objects' own colours, on the frames of the trimmed range."""
    source.style = Style("tint_contour", opacity=0.4)
    path = finish("overlay", source, tmp_path)
    shown = _opencv(path)
    assert shown.shape == (8, 360, 640, 3)
    colors = {1: color_of(1), 3: color_of(5)}  # object 3 has the palette's fifth colour
    for place, index in ((0, 40), (7, 47)):
        expected = tint(source.image(index), source.mask(index), 0.4, colors)
        assert np.abs(shown[place].astype(int) - expected).mean() < 4
    name, start, end, _ = _sound(path)
    assert name == "aac" and start == pytest.approx(0, abs=0.06) and end == pytest.approx(8 / 25, abs=0.06)


def test_the_wipe_runs_through_the_trimmed_range(source, tmp_path):
    """Forth and back: nothing of the style on the first and the last frame, nearly all of it in the middle."""
    source.style = Style("wipe")
    shown = _opencv(finish("overlay", source, tmp_path)).astype(int)
    shares = []
    for place in (0, 3, 7):
        frame = source.first + place
        changed = np.abs(shown[place] - source.image(frame)).mean(axis=2) > 12
        shares.append(changed[source.mask(frame) > 0].mean())
    assert shares[0] < 0.1 and shares[1] > 0.8 and shares[2] < 0.1


def test_stages_beside_one_another_give_what_one_after_the_other_gives(source, tmp_path, monkeypatch):
    """To the sample, with an encoder that gives the same twice."""
    beside = _alpha_frames(finish("prores_4444", source, tmp_path))
    make_plain(monkeypatch)
    (tmp_path / "plain").mkdir()
    plain = _alpha_frames(finish("prores_4444", source, tmp_path / "plain"))
    for (time, rgb, alpha), (plain_time, plain_rgb, plain_alpha) in zip(beside, plain, strict=True):
        assert time == plain_time and np.array_equal(rgb, plain_rgb) and np.array_equal(alpha, plain_alpha)


def test_closed_early_no_thread_is_left_and_few_frames_were_read(tmp_path):
    source = DiscSource(SAMPLE, 0, 40)
    read, whole = [], source.mask
    source.mask = lambda frame: read.append(frame) or whole(frame)
    steps = export("overlay", source, tmp_path, "clip")
    for _ in range(3):
        next(steps)
    steps.close()
    assert source.closed == source.started and len(read) <= 10
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_matte_is_grey_soft_and_silent(source, tmp_path):
    path = finish("matte", source, tmp_path)
    shown = _opencv(path).astype(int)
    assert shown.shape == (8, 360, 640, 3)
    for place, frame in ((0, 40), (7, 47)):
        expected = np.maximum(*source.mattes(frame).values())
        assert np.ptp(shown[place], axis=2).max() <= 2, "grey"
        assert np.abs(shown[place].mean(axis=2) - expected).mean() < 1.5
        assert ((shown[place] > 60) & (shown[place] < 195)).sum() > 500, "soft edges"
    with av.open(str(path)) as container:
        assert not container.streams.audio


def test_touching_objects_leave_no_seam_in_the_matte(source, tmp_path):
    """Where two soft edges meet, the shares of a pixel add up to a whole one."""
    height, width = source.info.height, source.info.width
    left = np.tile(np.clip(255 - (np.arange(width) - 316) * 32, 0, 255).astype(np.uint8), (height, 1))
    source.mattes = lambda frame: {1: left, 3: 255 - left}
    assert _opencv(finish("matte", source, tmp_path)).min() >= 250


@pytest.mark.parametrize(("kind", "alpha_error"), [("webm_alpha", 3.0), ("prores_4444", 0.3)])
def test_cut_outs_have_soft_alpha_and_the_frames_colours(source, tmp_path, kind, alpha_error):
    frames = _alpha_frames(finish(kind, source, tmp_path))
    assert [time for time, *_ in frames] == pytest.approx([place / 25 for place in range(8)], abs=0.001)
    for place, frame in ((0, 40), (7, 47)):
        _, rgb, alpha = frames[place]
        expected = np.maximum(*source.mattes(frame).values()).astype(float)
        assert np.abs(alpha - expected)[expected > 0].mean() < alpha_error
        assert alpha[expected == 0].mean() < 0.1 and alpha[expected == 255].min() > 250
        seen = expected > 20  # also in the soft edge: straight, not premultiplied
        assert np.abs(rgb[seen].astype(int) - source.image(frame)[seen]).mean() < 6


@pytest.mark.parametrize("kind", ["webm_alpha", "prores_4444", "rgba_png"])
def test_what_was_cut_away_is_not_in_the_file(source, tmp_path, kind):
    """Whoever makes the transparent parts opaque again finds nothing there."""
    path = finish(kind, source, tmp_path)
    if kind == "rgba_png":
        rgb = iio.imread(zipfile.ZipFile(path).read("00040.png"))[..., :3]
    else:
        rgb = _alpha_frames(path)[0][1]
    assert rgb[300:, :100].max() < 10


@pytest.mark.parametrize("kind", ["overlay", "matte", "webm_alpha", "prores_4444"])
def test_variable_rate_and_odd_sides(uneven, tmp_path, kind):
    path = finish(kind, uneven, tmp_path)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = sorted(float(packet.pts * stream.time_base) for packet in container.demux(stream) if packet.size)
        assert times == pytest.approx(UNEVEN_SECONDS, abs=0.0006)
        grown = (162, 122) if kind in ("overlay", "matte") else (161, 121)
        assert (stream.width, stream.height) == grown


@pytest.mark.parametrize(
    ("kind", "audio", "suffix", "kept"),
    [
        ("webm_alpha", "aac", "mp4", "opus"),
        ("webm_alpha", "libopus", "mkv", "opus"),
        ("webm_alpha", "flac", "mkv", "opus"),
        ("prores_4444", "aac", "mp4", "aac"),
        ("prores_4444", "libopus", "mkv", "pcm_s16le"),
        ("overlay", "flac", "mkv", "aac"),
    ],
)
def test_sound_of_a_trimmed_range_starts_and_ends_with_it(tmp_path, kind, audio, suffix, kept):
    """The tone is silent until 0.4 s: trimmed to 0.2 s, it begins at 0.2 s."""
    clip = write_clip(
        tmp_path / f"source.{suffix}", flat_images(10, 96, 64) * 2, audio=audio, audio_start=0.4, audio_seconds=0.4
    )
    folder = tmp_path / "out"
    folder.mkdir()
    name, _, end, samples = _sound(finish(kind, DiscSource(clip, 5, 14), folder))
    assert name == kept
    with av.open(str(next(folder.iterdir()))) as container:
        first = next(container.decode(audio=0))
        start = float(first.pts * first.time_base)
        rate = first.sample_rate
    loud = np.flatnonzero(np.abs(samples).max(axis=0) > 0.1 * np.abs(samples).max())[0] / rate + start
    assert loud == pytest.approx(0.2, abs=0.03)
    assert end == pytest.approx(0.4, abs=0.05)


def test_the_webm_is_transparent_in_a_browser(source, tmp_path, browser):
    """Played and drawn on a canvas: opaque inside, transparent outside, half of both in the soft edge."""
    path = finish("webm_alpha", source, tmp_path)
    page = browser.new_page()
    data = base64.b64encode(path.read_bytes()).decode()
    seen = page.evaluate(_DRAW, [data, [[320, 180], [480, 180], [320, 20]]])
    page.close()
    assert (seen["width"], seen["height"]) == (640, 360)
    assert seen["duration"] == pytest.approx(8 / 25, abs=0.03)
    inside, other, outside = seen["pixels"]
    assert inside[3] == 255 and other[3] == 255 and outside[3] == 0
    assert np.abs(np.array(inside[:3]) - source.image(40)[180, 320]).max() < 16
    assert seen["partly"] > 500, "soft edges"
    assert seen["played"], "it plays to its end"


_DRAW = """
async ([data, places]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const video = document.createElement("video");
  video.muted = true;
  video.src = URL.createObjectURL(new Blob([bytes], {type: "video/webm"}));
  await new Promise((done, fail) => { video.onloadeddata = done; video.onerror = () => fail(video.error.message); });
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  const context = canvas.getContext("2d");
  const shown = new Promise((done) => video.requestVideoFrameCallback(done));
  video.currentTime = 0.01;
  await shown;
  context.drawImage(video, 0, 0);
  const all = context.getImageData(0, 0, canvas.width, canvas.height).data;
  let partly = 0;
  for (let i = 3; i < all.length; i += 4) if (all[i] > 50 && all[i] < 205) partly++;
  const pixels = places.map(([x, y]) => Array.from(context.getImageData(x, y, 1, 1).data));
  const duration = video.duration;
  const ended = new Promise((done) => { video.onended = () => done(true); setTimeout(() => done(false), 8000); });
  await video.play();
  return {pixels, partly, duration, width: canvas.width, height: canvas.height, played: await ended};
}
"""


def test_prores_says_that_it_is_4444(source, tmp_path):
    """Editors go by the four letters of the codec and by the alpha field of the frames' header."""
    data = finish("prores_4444", source, tmp_path).read_bytes()
    assert b"ap4h" in data
    header = data.index(b"icpf")
    assert data[header + 8 : header + 12] == b"apl0"
    assert data[header + 16] >> 6 == 3, "4:4:4"
    assert data[header + 21] & 15 == 2, "16 bits of alpha"


def test_alpha_levels_are_exact_in_prores(tmp_path):
    """All 256 levels come back, also full opacity, which a mere shift would miss."""
    clip = write_clip(tmp_path / "source.mp4", flat_images(2, 256, 32))
    source = DiscSource(clip, 0, 0)
    ramp = np.tile(np.arange(256, dtype=np.uint8), (32, 1))
    source.mattes = lambda frame: {1: ramp, 3: np.zeros_like(ramp)}
    alpha = _alpha_frames(finish("prores_4444", source, tmp_path))[0][2]
    assert np.abs(alpha - ramp).max() < 0.5
    assert alpha.max() == 255
