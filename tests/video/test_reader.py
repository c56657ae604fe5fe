"""Frames come out complete, upright, in order, at their times and in their colours."""

import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, VideoReformatter
from PIL import Image

from tests.video.clips import COUNT, HEIGHT, WIDTH, brightness, flat_images, grey, read_all, write_clip
from xmem.errors import InputError
from xmem.video import FrameReader, colour, first_frame, probe
from xmem.video.timeline import Timeline

FORMATS = [
    ("mp4", "libx264", "yuv420p", {"bf": "3"}),
    ("ts", "libx264", "yuv420p", {"bf": "3"}),
    ("avi", "libx264", "yuv420p", {"bf": "3"}),
    ("h264", "libx264", "yuv420p", {"bf": "3"}),
    ("mkv", "libx265", "yuv420p10le", {"x265-params": "log-level=none"}),
    ("webm", "libvpx-vp9", "yuv420p", {"deadline": "realtime", "cpu-used": "8"}),
    ("webm", "libvpx", "yuv420p", {"auto-alt-ref": "1", "lag-in-frames": "8", "b": "1M"}),
    ("mp4", "libsvtav1", "yuv420p", {"preset": "12", "svtav1-params": "lp=1"}),
    ("mp4", "mpeg4", "yuv420p", {"b": "1M"}),
    ("avi", "mpeg4", "yuv420p", {"b": "1M", "bf": "2"}),
    ("avi", "mjpeg", "yuvj420p", {}),
    ("mov", "prores_ks", "yuv422p10le", {}),
    ("mov", "prores_ks", "yuva444p10le", {"profile": "4444"}),
    ("mpg", "mpeg2video", "yuv420p", {"bf": "2", "b": "1M"}),
    ("gif", "gif", "rgb8", {}),
    ("mkv", "ffv1", "bgr0", {}),
]


@pytest.mark.parametrize(("suffix", "codec", "pix_fmt", "options"), FORMATS)
def test_every_frame_of_every_format_comes_once_in_order_and_on_time(tmp_path, suffix, codec, pix_fmt, options):
    path = write_clip(tmp_path / f"clip.{suffix}", codec=codec, pix_fmt=pix_fmt, options=options)
    frames = read_all(path)
    assert [frame.index for frame in frames] == list(range(COUNT))
    assert brightness(frames) == pytest.approx([grey(i) for i in range(COUNT)], abs=3)
    assert [float(frame.time) for frame in frames] == pytest.approx([i / 25 for i in range(COUNT)], abs=0.001)
    assert frames[3].name == "00003"
    info = probe(path)
    assert (info.width, info.height, info.frame_count) == (WIDTH, HEIGHT, COUNT)
    assert info.duration == pytest.approx(COUNT / 25, abs=0.002)
    assert info.rate == 25 and not info.variable_rate and not info.has_audio


def _corners(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A picture whose four quarters differ."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = 240
    image[: height // 2, width // 2 :] = 170
    image[height // 2 :, : width // 2] = 90
    return image


@pytest.mark.parametrize(
    ("degrees", "hflip", "turned", "rotation"),
    [
        (0, False, lambda a: a, 0),
        (90, False, lambda a: np.rot90(a, 1), 270),
        (180, False, lambda a: np.rot90(a, 2), 180),
        (-90, False, lambda a: np.rot90(a, -1), 90),
        (0, True, np.fliplr, 0),
        (180, True, np.flipud, 0),
    ],
)
def test_rotation_metadata_is_applied(tmp_path, degrees, hflip, turned, rotation):
    path = write_clip(
        tmp_path / "turned.mp4",
        [_corners()] * 2,
        options={"qp": "5"},
        configure=lambda stream: stream.set_display_rotation(degrees, hflip=hflip),
    )
    expected = turned(_corners())
    info = probe(path)
    assert (info.height, info.width) == expected.shape[:2]
    assert info.rotation == rotation
    for frame in read_all(path):
        assert np.abs(frame.image.astype(int) - expected).mean() < 4


def test_variable_rate_keeps_its_time_stamps(tmp_path):
    times = [0, 1, 2, 10, 11, 40, 41, 42, 43, 90, 91, 100]
    path = write_clip(tmp_path / "vfr.mkv", times=times)
    assert [float(frame.time) for frame in read_all(path)] == pytest.approx([t / 25 for t in times], abs=0.001)
    assert probe(path).variable_rate


def test_gif_delays_are_kept(tmp_path):
    path = tmp_path / "delays.gif"
    pictures = [Image.fromarray(image) for image in flat_images(4)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[100, 50, 300, 200], disposal=1)
    frames = read_all(path)
    assert [frame.time for frame in frames] == [0, Fraction(1, 10), Fraction(3, 20), Fraction(9, 20)]
    assert frames[-1].duration == Fraction(1, 5)


def test_transparent_parts_are_shown_on_white(tmp_path):
    image = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    image[:, : WIDTH // 2] = (200, 10, 10, 255)
    Image.fromarray(image).save(tmp_path / "0.png")
    shown = first_frame(tmp_path)
    assert tuple(shown[0, 0]) == (200, 10, 10)
    assert tuple(shown[0, -1]) == (255, 255, 255)


@pytest.mark.parametrize(
    ("stamps", "placed"),
    [
        ([0, 4, 8, 12], [0, 4, 8, 12]),
        ([None, None, None], [0, 4, 8]),
        ([0, 4, 4, 12], [0, 4, 6, 12]),
        ([0, 4, None, 12], [0, 4, 8, 12]),
        ([0, 8, 4, 12], [0, 8, 10, 12]),
        ([1000, 1004, 0, 4], [1000, 1004, 1008, 1012]),
    ],
)
def test_time_stamps_are_repaired_without_dropping_or_drifting(stamps, placed):
    timeline = Timeline(Fraction(1, 100), Fraction(4, 100))
    assert [timeline.place(stamp) for stamp in stamps] == placed


PATCHES = [(220, 30, 30), (30, 200, 60), (40, 60, 220), (235, 235, 235), (25, 25, 25), (200, 140, 90)]
MATRICES = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}


def _yuv_clip(path: Path, matrix: int, full: bool, tagged: bool = True, height: int = HEIGHT) -> Path:
    """One frame per patch, in yuv444p computed here from the definition of the matrix."""
    red, blue = MATRICES[matrix]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, height, "yuv444p"
        if tagged:
            stream.codec_context.colorspace = matrix
            stream.codec_context.color_range = 2 if full else 1
        for number, patch in enumerate(PATCHES):
            r, g, b = (value / 255 for value in patch)
            luma = red * r + (1 - red - blue) * g + blue * b
            planes = [luma, (b - luma) / (2 - 2 * blue), (r - luma) / (2 - 2 * red)]
            scale, offset = ((255, 255, 255), (0, 128, 128)) if full else ((219, 224, 224), (16, 128, 128))
            frame = av.VideoFrame(WIDTH, height, "yuv444p")
            for plane, value, times, plus in zip(frame.planes, planes, scale, offset, strict=True):
                plane.update(bytes([round(value * times + plus)]) * plane.buffer_size)
            if tagged:
                frame.colorspace, frame.color_range = matrix, 2 if full else 1
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
def test_colours_are_those_of_the_streams_matrix_and_range(tmp_path, matrix, full):
    frames = read_all(_yuv_clip(tmp_path / "patches.mp4", matrix, full))
    for frame, patch in zip(frames, PATCHES, strict=True):
        assert np.abs(frame.image.astype(int) - patch).max() <= 2


@pytest.mark.parametrize(("height", "matrix"), [(48, 6), (720, 1)])
def test_untagged_streams_are_read_by_the_players_convention(tmp_path, height, matrix):
    frames = read_all(_yuv_clip(tmp_path / "untagged.mp4", matrix, full=False, tagged=False, height=height))
    for frame, patch in zip(frames, PATCHES, strict=True):
        assert np.abs(frame.image.astype(int) - patch).max() <= 2


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize(("width", "height"), [(46, 32), (47, 32), (46, 33)])
@pytest.mark.parametrize("layout", ["yuv420p", "nv12", "yuv420p10le", "yuv422p"])
def test_every_way_to_rgb_gives_the_levels_of_the_exact_one(layout, width, height, matrix, full):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    picture = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format=layout)
    picture.colorspace, picture.color_range = matrix, 2 if full else 1
    exact = VideoReformatter().reformat(
        picture, format="rgb24", interpolation=colour._TO_RGB, dst_color_range=ColorRange.JPEG
    )
    image = colour.to_rgb(picture, VideoReformatter(), width, height)
    np.testing.assert_array_equal(image, exact.to_ndarray())


def test_the_first_frame_is_that_of_the_reader(clip):
    assert np.array_equal(first_frame(clip), read_all(clip)[0].image)


def test_a_file_cut_in_the_middle_gives_what_decodes_and_a_warning(tmp_path, caplog):
    noise = np.random.default_rng(0).integers(0, 255, (COUNT, HEIGHT, WIDTH, 3), np.uint8)
    whole = write_clip(tmp_path / "whole.mp4", list(noise), options={"movflags": "faststart", "qp": "10", "g": "1"})
    fast = tmp_path / "fast.mp4"
    with av.open(str(whole)) as source, av.open(str(fast), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(fast.read_bytes()[: fast.stat().st_size * 6 // 10])
    with caplog.at_level(logging.WARNING, logger="xmem"):
        frames = read_all(cut)
    assert 3 <= len(frames) < COUNT
    assert "of 12 frames" in caplog.text


def test_only_a_few_frames_are_decoded_ahead(clip, monkeypatch):
    """The reader is lazy: taking two frames must not decode the clip."""
    from xmem.video import decode

    converted = []
    real = decode.to_rgb
    monkeypatch.setattr(decode, "to_rgb", lambda *given: converted.append(1) or real(*given))
    with FrameReader(clip) as reader:
        next(reader)
        next(reader)
        assert len(converted) == 2 and not reader.finished


def test_a_picture_of_another_size_in_mid_stream_is_resized_to_the_first(tmp_path):
    small = write_clip(tmp_path / "small.h264", flat_images(3))
    large = write_clip(tmp_path / "large.h264", flat_images(3, 96, 64))
    joined = tmp_path / "joined.h264"
    joined.write_bytes(small.read_bytes() + large.read_bytes())
    frames = read_all(joined)
    assert [frame.image.shape for frame in frames] == [(HEIGHT, WIDTH, 3)] * 6


class TestFolder:
    """A folder of images is a video."""

    def test_order_is_natural_and_names_are_the_images(self, tmp_path):
        for number in (1, 2, 10):
            Image.fromarray(flat_images(11)[number]).save(tmp_path / f"frame{number}.png")
        (tmp_path / "notes.txt").write_text("no image")
        frames = read_all(tmp_path)
        assert [frame.name for frame in frames] == ["frame1", "frame2", "frame10"]
        assert brightness(frames) == [grey(1), grey(2), grey(10)]
        assert frames[2].time == Fraction(2, 24)
        info = probe(tmp_path)
        assert (info.frame_count, info.frame_count_exact, info.is_folder, info.rate) == (3, True, True, 24)

    def test_exif_orientation_is_applied(self, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6  # shown turned clockwise
        Image.fromarray(_corners()).save(tmp_path / "0.jpg", exif=exif, quality=95)
        expected = np.rot90(_corners(), -1)
        assert (probe(tmp_path).height, probe(tmp_path).width) == expected.shape[:2]
        assert np.abs(first_frame(tmp_path).astype(int) - expected).mean() < 3

    def test_a_misfit_is_named(self, tmp_path):
        Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
        Image.new("RGB", (65, 48)).save(tmp_path / "b.png")
        with pytest.raises(InputError, match=r"b\.png.*65x48.*64x48"):
            FrameReader(tmp_path)

    def test_two_images_of_one_name_are_refused(self, tmp_path):
        Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
        Image.new("RGB", (64, 48)).save(tmp_path / "a.jpg")
        with pytest.raises(InputError, match="share a name"):
            probe(tmp_path)

    def test_a_broken_image_is_named(self, tmp_path):
        Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
        (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
        with pytest.raises(InputError, match=r"b\.png"):
            read_all(tmp_path)

    def test_a_single_image_works(self, tmp_path):
        Image.new("RGB", (64, 48)).save(tmp_path / "only.webp")
        assert len(read_all(tmp_path)) == 1

    def test_sixteen_bit_grey_is_scaled_and_not_clipped(self, tmp_path):
        Image.fromarray(np.full((48, 64), 0x8000, np.uint16)).save(tmp_path / "deep.png")
        assert first_frame(tmp_path)[0, 0].tolist() == [128, 128, 128]
