"""What is written plays in browsers: H.264 yuv420p, the source's timing, colours and sound, whenever writing stops."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.video.clips import COUNT, HEIGHT, WIDTH, brightness, copy_clip, flat_images, read_all, write_clip
from tests.video.test_reader import MATRICES, PATCHES, _yuv_clip
from xmem.video import FrameReader, VideoWriter, probe
from xmem.video.writer import H264, VideoPreset


def _streams(path: Path) -> dict[str, tuple[float, float, int]]:
    """Start and end (seconds) and packet count per kind of stream."""
    found: dict[str, tuple[float, float, int]] = {}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size and packet.pts >= 0:
                start = float(packet.pts * packet.time_base)
                end = start + float(packet.duration * packet.time_base)
                low, high, count = found.get(packet.stream.type, (start, end, 0))
                found[packet.stream.type] = (min(low, start), max(high, end), count + 1)
    return found


def _tone_starts(path: Path) -> float:
    """Seconds at which the tone becomes audible."""
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            loud = np.flatnonzero(np.abs(frame.to_ndarray().astype(float)).max(axis=0) > 0.1)
            if loud.size:
                return float(frame.pts * frame.time_base) + loud[0] / frame.sample_rate
    raise AssertionError("the sound is silent")


def test_the_file_is_what_browsers_play(clip, tmp_path):
    out = copy_clip(clip, tmp_path / "out.mp4")
    data = out.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "faststart"
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.frames) == (WIDTH, HEIGHT, COUNT)


@pytest.mark.parametrize("time_base", [Fraction(1, 25), Fraction(1, 1000), Fraction(1001, 30000)])
def test_times_are_the_sources_also_at_a_variable_rate(tmp_path, time_base):
    times = [0, 1, 2, 10, 11, 40, 41, 42, 43, 90, 91, 100]
    source = write_clip(tmp_path / "vfr.mp4", times=times, time_base=time_base, options={"bf": "2"})
    expected = read_all(source)
    written = read_all(copy_clip(source, tmp_path / "out.mp4"))
    assert [frame.time for frame in written] == [frame.time for frame in expected]
    assert [frame.time for frame in written] == [time * time_base for time in times]
    assert brightness(written) == pytest.approx(brightness(expected), abs=2)


def test_the_last_frame_keeps_its_duration(tmp_path):
    path = tmp_path / "delays.gif"
    pictures = [Image.fromarray(image) for image in flat_images(3)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[100, 100, 700])
    out = copy_clip(path, tmp_path / "out.mp4")
    assert probe(out).duration == pytest.approx(0.9, abs=0.001)
    assert not probe(out).has_audio


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
def test_no_colour_shifts_between_source_and_result(tmp_path, matrix, full):
    out = copy_clip(_yuv_clip(tmp_path / "patches.mp4", matrix, full), tmp_path / "out.mp4")
    with av.open(str(out)) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (matrix, 1)
    for written, patch in zip(read_all(out), PATCHES, strict=True):
        assert np.abs(written.image.astype(int) - patch).max() <= 3


def test_images_are_written_in_tagged_colours(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number, patch in enumerate(PATCHES):
        Image.new("RGB", (WIDTH, HEIGHT), patch).save(folder / f"{number}.png")
    out = copy_clip(folder, tmp_path / "out.mp4")
    written = read_all(out)
    assert [frame.time for frame in written] == [Fraction(i, 24) for i in range(len(PATCHES))]
    for frame, patch in zip(written, PATCHES, strict=True):
        assert np.abs(frame.image.astype(int) - patch).max() <= 3


@pytest.mark.parametrize(("width", "height"), [(65, 48), (64, 49), (65, 49), (1, 1)])
def test_odd_sides_grow_by_a_copy_of_the_edge(tmp_path, width, height):
    folder = tmp_path / "images"
    folder.mkdir()
    image = np.full((height, width, 3), 40, np.uint8)
    image[:, -1] = image[-1] = 200
    Image.fromarray(image).save(folder / "0.png")
    (written,) = read_all(copy_clip(folder, tmp_path / "out.mp4"))
    assert written.image.shape == (height + height % 2, width + width % 2, 3)
    assert written.image[-1, -1].mean() == pytest.approx(200, abs=12)


def test_rotated_source_gives_an_upright_result(tmp_path):
    image = np.full((HEIGHT, WIDTH, 3), 30, np.uint8)
    image[:, : WIDTH // 4] = 220  # after a clockwise turn: the top quarter
    source = write_clip(tmp_path / "turned.mp4", [image] * 3, configure=lambda s: s.set_display_rotation(-90))
    out = copy_clip(source, tmp_path / "out.mp4")
    info = probe(out)
    assert (info.width, info.height, info.rotation) == (HEIGHT, WIDTH, 0)
    shown = read_all(out)[0].image
    assert shown[: WIDTH // 5].mean() > 200 and shown[WIDTH // 3 :].mean() < 50


def test_pixel_shape_is_kept_and_turned_with_the_picture(tmp_path):
    def stretch(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    def stretch_and_turn(stream: av.VideoStream) -> None:
        stretch(stream)
        stream.set_display_rotation(90)

    for configure, expected in ((stretch, Fraction(4, 3)), (stretch_and_turn, Fraction(3, 4))):
        source = write_clip(tmp_path / "source.mp4", flat_images(2), configure=configure)
        with av.open(str(copy_clip(source, tmp_path / "out.mp4"))) as container:
            assert container.streams.video[0].sample_aspect_ratio == expected


class TestSound:
    """The source's sound comes along, in time."""

    @pytest.mark.parametrize(
        ("suffix", "codec", "kept"),
        [
            ("mp4", "aac", "aac"),
            ("ts", "aac", "aac"),
            ("mkv", "libmp3lame", "mp3float"),
            ("mkv", "libopus", "opus"),
            ("mkv", "flac", "aac"),
            ("mov", "pcm_s16le", "aac"),
            ("avi", "ac3", "aac"),
        ],
    )
    def test_it_is_copied_or_encoded_again_at_the_same_time(self, tmp_path, suffix, codec, kept):
        source = write_clip(tmp_path / f"source.{suffix}", audio=codec)
        out = copy_clip(source, tmp_path / "out.mp4")
        with av.open(str(out)) as container:
            sound = container.streams.audio[0]
            assert sound.codec_context.name.replace("lib", "") == kept.replace("lib", "")
        streams = _streams(out)
        assert streams["audio"][1] == pytest.approx(COUNT / 25, abs=0.06)
        with av.open(str(source)) as container:
            first = next(container.decode(video=0))
            shift = float(first.pts * first.time_base) if first.pts is not None and suffix != "avi" else 0.0
        assert _tone_starts(out) == pytest.approx(_tone_starts(source) - shift, abs=0.003 if kept != "aac" else 0.03)

    @pytest.mark.parametrize("codec", ["aac", "flac"])
    def test_a_late_start_stays_late(self, tmp_path, codec):
        source = write_clip(tmp_path / "late.mkv", flat_images(12), audio=codec, audio_start=0.2, audio_seconds=0.3)
        out = copy_clip(source, tmp_path / "out.mp4")
        assert _tone_starts(out) == pytest.approx(_tone_starts(source), abs=0.03)
        assert _tone_starts(out) > 0.15

    @pytest.mark.parametrize("codec", ["aac", "flac"])
    def test_sound_from_before_the_first_frame_is_left_out(self, tmp_path, codec):
        source = write_clip(tmp_path / "late.mkv", times=range(10, 22), audio=codec, audio_seconds=0.88)
        streams = _streams(copy_clip(source, tmp_path / "out.mp4"))
        assert streams["video"][:2] == pytest.approx((0, 0.48), abs=0.002)
        assert streams["audio"][0] == pytest.approx(0, abs=0.03)
        assert streams["audio"][1] == pytest.approx(0.48, abs=0.06)

    @pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
    def test_it_ends_with_the_video_on_an_early_stop(self, tmp_path, codec):
        source = write_clip(tmp_path / "source.mov", audio=codec, audio_seconds=2)
        streams = _streams(copy_clip(source, tmp_path / "out.mp4", stop=5))
        assert streams["video"][2] == 5
        assert streams["audio"][1] == pytest.approx(5 / 25, abs=0.035)

    def test_it_is_kept_to_its_own_end_when_the_video_is_complete(self, tmp_path):
        source = write_clip(tmp_path / "source.mp4", audio="aac", audio_seconds=1.5)
        streams = _streams(copy_clip(source, tmp_path / "out.mp4"))
        assert streams["video"][2] == COUNT
        assert streams["audio"][1] == pytest.approx(1.5, abs=0.05)

    def test_packets_are_interleaved(self, tmp_path):
        """A player that streams the file needs sound and picture of one moment close together."""
        source = write_clip(tmp_path / "source.mp4", flat_images(10) * 10, audio="aac")
        seen = {"video": 0.0, "audio": 0.0}
        with av.open(str(copy_clip(source, tmp_path / "out.mp4"))) as container:
            by_place = sorted((p for p in container.demux() if p.size), key=lambda packet: packet.pos)
            for packet in by_place:
                seen[packet.stream.type] = float(packet.pts * packet.time_base)
                assert abs(seen["video"] - seen["audio"]) < 1.1

    def test_damaged_sound_does_not_stop_the_video(self, tmp_path):
        source = write_clip(tmp_path / "source.mkv", audio="flac", audio_seconds=0.48)
        data = bytearray(source.read_bytes())
        with av.open(str(source)) as container:
            places = [packet.pos for packet in container.demux(audio=0) if packet.size]
        for place in places[1:3]:
            data[place + 20 : place + 60] = bytes(40)
        source.write_bytes(data)
        assert _streams(copy_clip(source, tmp_path / "out.mp4"))["video"][2] == COUNT


class TestStopping:
    """The file is valid whenever the run stops, or is not there at all."""

    @pytest.mark.parametrize("stop", [1, 2, 7])
    def test_after_any_number_of_frames(self, clip, tmp_path, stop):
        assert len(read_all(copy_clip(clip, tmp_path / "out.mp4", stop))) == stop

    def test_a_reader_that_is_ahead_changes_nothing(self, tmp_path):
        """All frames were read when writing stopped: the sound still ends with the video."""
        source = write_clip(tmp_path / "source.mp4", flat_images(COUNT), audio="aac", audio_seconds=2)
        out = tmp_path / "out.mp4"
        with FrameReader(source) as reader, VideoWriter(out, reader) as writer:
            for frame in list(reader)[:5]:
                writer.write(frame.image, frame)
            assert reader.finished and reader.frame_count == COUNT
        assert _streams(out)["audio"][1] == pytest.approx(5 / 25, abs=0.035)

    def test_without_frames_no_file_is_left(self, clip, tmp_path):
        folder = tmp_path / "out"
        folder.mkdir()
        copy_clip(clip, folder / "out.mp4", stop=0)
        assert list(folder.iterdir()) == []

    def test_closing_twice_is_harmless(self, clip, tmp_path):
        with FrameReader(clip) as reader:
            writer = VideoWriter(tmp_path / "out.mp4", reader)
            frame = next(reader)
            writer.write(frame.image, frame)
            writer.close()
            writer.close()
        assert len(read_all(tmp_path / "out.mp4")) == 1

    def test_an_error_in_the_callers_work_leaves_what_was_written(self, clip, tmp_path):
        out = tmp_path / "out.mp4"
        with pytest.raises(RuntimeError), FrameReader(clip) as reader, VideoWriter(out, reader) as writer:
            for frame in reader:
                if frame.index == 4:
                    raise RuntimeError("the caller's")
                writer.write(frame.image, frame)
        assert len(read_all(out)) == 4

    def test_a_failing_write_leaves_no_file(self, clip, tmp_path):
        folder = tmp_path / "out"
        with FrameReader(clip) as reader, pytest.raises(ValueError), VideoWriter(folder / "out.mp4", reader) as writer:
            frame = next(reader)
            writer.write(frame.image, frame)
            writer.write(frame.image, frame)  # not later
        assert list(folder.iterdir()) == []

    def test_an_old_file_stays_until_the_new_one_is_complete(self, clip, tmp_path):
        out = tmp_path / "out.mp4"
        out.write_bytes(b"old")
        with FrameReader(clip) as reader, VideoWriter(out, reader) as writer:
            frame = next(reader)
            writer.write(frame.image, frame)
            assert out.read_bytes() == b"old"
        assert len(read_all(out)) == 1


class TestPresets:
    """Other containers and codecs through the same writer."""

    LOSSLESS = VideoPreset("matroska", "ffv1", "yuva420p", {"level": "3"}, sound=None)

    def test_alpha_is_kept_with_every_size_and_time(self, tmp_path):
        times = [0, 40, 55, 300]
        source = write_clip(tmp_path / "vfr.mp4", flat_images(4), times=times, time_base=Fraction(1, 1000))
        ramp = np.tile(np.arange(65, dtype=np.uint8) * 3, (49, 1))
        out = tmp_path / "out.mkv"
        with FrameReader(source) as reader, VideoWriter(out, reader, self.LOSSLESS) as writer:
            for frame in reader:
                colour = np.full((49, 65, 3), 100, np.uint8)
                writer.write(np.dstack([colour, np.roll(ramp, frame.index, axis=1)]), frame)
        with av.open(str(out)) as container:
            for place, frame in enumerate(container.decode(video=0)):
                assert (frame.width, frame.height, float(frame.time)) == (65, 49, times[place] / 1000)
                plane = np.frombuffer(frame.planes[3], np.uint8).reshape(49, -1)[:, :65]
                assert (plane == np.roll(ramp, place, axis=1)).all()
                assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - 100).max() <= 2
        assert place == 3

    def test_without_sound_where_the_preset_has_none(self, tmp_path):
        source = write_clip(tmp_path / "source.mp4", audio="aac")
        with FrameReader(source) as reader, VideoWriter(tmp_path / "out.mp4", reader, replace(H264, sound=None)) as out:
            for frame in reader:
                out.write(frame.image, frame)
        assert set(_streams(tmp_path / "out.mp4")) == {"video"}
