"""Frames in any order are the very frames that the reader gives in time order, whatever the file."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.video.clips import HEIGHT, WIDTH, copy_clip, flat_images, read_all, write_clip
from tests.video.test_reader import FORMATS
from xmem.errors import InputError
from xmem.video import Frame, FrameAccess, FrameReader, VideoWriter, decode, frames, seek

COUNT = 40
# Short groups of pictures, so that there is something to seek to; B-frames before and after key pictures.
GROUPS = {
    "libx264": {"g": "8", "bf": "3", "x264-params": "open-gop=1:b-adapt=0"},
    "libx265": {"g": "8", "x265-params": "log-level=none:open-gop=1:keyint=8:min-keyint=8"},
    "libvpx-vp9": {"g": "8"},
    "libvpx": {"g": "8"},
    "libsvtav1": {"g": "8"},
    "mpeg4": {"g": "8"},
    "mpeg2video": {"g": "8"},
    "ffv1": {"g": "8"},
}


def moving_images(count: int = COUNT) -> list[np.ndarray]:
    """A textured picture that drifts, so that frames are predicted from each other and all differ."""
    texture = np.random.default_rng(1).integers(0, 255, (HEIGHT // 4, WIDTH // 4, 3), np.uint8)
    texture = np.kron(texture, np.ones((4, 4, 1), np.uint8))
    return [np.roll(texture, (index, 2 * index), (0, 1)) for index in range(count)]


def remux(
    source: Path, target: Path, change: Callable[[av.Packet], None] | None = None, options: dict | None = None
) -> Path:
    """The same packets, each changed, in another file."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=options or {}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                if change:
                    change(packet)
                packet.stream = stream
                new.mux(packet)
    return target


def assert_same(given: Frame, expected: Frame) -> None:
    assert np.array_equal(given.image, expected.image), f"image of frame {expected.index}"
    parts = ("index", "time", "duration", "name")
    assert [getattr(given, part) for part in parts] == [getattr(expected, part) for part in parts]


def assert_any_order(source: Path) -> None:
    """Random access, forwards and backwards, each with a fresh and with a stored index."""
    expected = read_all(source)
    order = random.Random(0).choices(range(len(expected)), k=30)
    with FrameAccess(source) as access:
        assert access.frame_count == len(expected)
        for index in order:
            assert_same(access.frame(index), expected[index])
        stored = json.loads(json.dumps(access.index))
    with FrameAccess(source, index=stored) as access:
        last = len(expected) - 1
        assert access.frame_count == len(expected)
        for given, frame in zip(access.backward(last, 0), reversed(expected), strict=True):
            assert_same(given, frame)
        for given, frame in zip(access.forward(0, last), expected, strict=True):
            assert_same(given, frame)
    with FrameReader(source) as reader:
        parts = ("time_base", "colour", "sample_aspect", "start", "audio_path")
        assert [getattr(access, part) for part in parts] == [getattr(reader, part) for part in parts]


@pytest.mark.parametrize(("suffix", "codec", "pix_fmt", "options"), FORMATS)
def test_every_format(tmp_path, suffix, codec, pix_fmt, options, monkeypatch):
    monkeypatch.setattr(frames, "HELD_BYTES", 0)  # runs of four
    options = {**options, **GROUPS.get(codec, {})}
    assert_any_order(
        write_clip(tmp_path / f"clip.{suffix}", moving_images(), codec=codec, pix_fmt=pix_fmt, options=options)
    )


def test_open_groups_gradual_refresh_edit_lists_and_fragments(tmp_path):
    """Places at which decoding from the nearest key packet alone would give a wrong picture, or a wrong number."""
    images = moving_images()
    gradual = {"g": "16", "bf": "0", "x264-params": "intra-refresh=1"}
    assert_any_order(write_clip(tmp_path / "gradual.mp4", images, options=gradual))
    whole = write_clip(tmp_path / "whole.mp4", images, options=GROUPS["libx264"])

    def begin_inside(packet: av.Packet) -> None:
        packet.pts -= 5 * 512
        packet.dts -= 5 * 512

    assert_any_order(remux(whole, tmp_path / "edited.mp4", begin_inside))
    assert len(read_all(tmp_path / "edited.mp4")) == COUNT - 5
    assert_any_order(remux(whole, tmp_path / "pieces.mp4", options={"movflags": "frag_keyframe+empty_moov"}))


def test_variable_rate_rotation_and_no_cues(tmp_path):
    times = np.cumsum(np.random.default_rng(0).integers(1, 9, COUNT)).tolist()
    images, options = moving_images(), GROUPS["libx264"]
    assert_any_order(write_clip(tmp_path / "variable.mkv", images, times=times, options=options))
    turned = write_clip(
        tmp_path / "turned.mp4", images, options=options, configure=lambda stream: stream.set_display_rotation(-90)
    )
    assert_any_order(turned)
    recorded = write_clip(tmp_path / "recorded.webm", images, codec="libvpx-vp9", options=GROUPS["libvpx-vp9"])
    assert_any_order(remux(recorded, tmp_path / "live.webm", options={"live": "1"}))


def test_repeated_stamps_joined_recordings_and_still_scenes(tmp_path):
    """Files in which neither stamps nor pictures alone tell frames apart."""
    images = moving_images(20)

    def repeat(packet: av.Packet) -> None:
        if packet.pts // 40 % 9 == 4:
            packet.pts = packet.dts = packet.pts - 40

    plain = write_clip(tmp_path / "plain.mkv", images, options={"g": "8", "bf": "0"})
    assert_any_order(remux(plain, tmp_path / "repeated.mkv", repeat))
    one, two = (write_clip(tmp_path / f"{n}.ts", images[n:], options=GROUPS["libx264"]) for n in (0, 5))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(one.read_bytes() + two.read_bytes())
    assert_any_order(joined)
    still = [images[0]] * 20 + images + [images[0]] * 20
    assert_any_order(write_clip(tmp_path / "still.avi", still, codec="mpeg4", options={"g": "8", "bf": "2", "b": "1M"}))


def test_cut_and_hollow_files_have_the_frames_that_decode(tmp_path):
    whole = write_clip(tmp_path / "whole.mp4", moving_images(), options=GROUPS["libx264"])
    data = remux(whole, tmp_path / "fast.mp4", options={"movflags": "faststart"}).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) * 6 // 10])
    assert_any_order(cut)
    assert 3 < len(read_all(cut)) < COUNT
    hollow = tmp_path / "hollow.mp4"
    hollow.write_bytes(_overwritten(whole, (9, 10, 21), b"\0"))
    assert_any_order(hollow)
    assert 3 < len(read_all(hollow)) < COUNT


def _overwritten(path: Path, packets: tuple[int, ...], byte: bytes, most: int = 1_000_000) -> bytes:
    """The file with that byte all over these packets, or over their beginnings."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        places = [(packet.pos, min(packet.size, most)) for packet in container.demux(video=0) if packet.size]
    for number in packets:
        at, size = places[number]
        data[at : at + size] = byte * size
    return bytes(data)


def test_damage_that_shows_only_in_decoding_takes_frames_away_and_is_told(tmp_path, caplog):
    path = write_clip(tmp_path / "clip.mp4", moving_images(), options={"g": "8", "bf": "0"})
    path.write_bytes(_overwritten(path, (20,), b"\xff", most=4))  # the length of what follows
    expected = read_all(path)
    assert len(expected) < COUNT
    with FrameAccess(path) as access:
        frames = list(access.forward(0, access.frame_count - 1))
        assert access.frame_count == len(frames) == len(expected)
        for given, frame in zip(frames, expected, strict=True):
            assert_same(given, frame)
        assert access.finished
        with pytest.raises(InputError, match="There is no frame"):
            access.frame(COUNT - 1)
    assert caplog.text.count("decoded once to see") == 1


def test_damage_that_shows_going_backwards_is_told_the_same(tmp_path):
    """Frames that were decoded already have other numbers then, for an earlier one turns out to be missing, too."""
    path = write_clip(tmp_path / "clip.mov", moving_images(), codec="mjpeg", pix_fmt="yuvj420p")
    path.write_bytes(_overwritten(path, (1, 2, COUNT - 1), b"\x11"))
    expected = read_all(path)
    assert len(expected) == COUNT - 3
    with FrameAccess(path) as access:
        frames = list(access.backward(COUNT - 1, COUNT - 5))
    assert [frame.index for frame in frames] == [COUNT - 4, COUNT - 5]
    for given in frames:
        assert_same(given, expected[given.index])


def test_a_frame_costs_no_more_than_its_group_of_pictures(tmp_path, monkeypatch):
    """Random access decodes from the nearest key picture, and converts the wanted picture alone."""
    path = write_clip(tmp_path / "clip.mp4", moving_images(160), options={"g": "8", "bf": "0"})
    index = FrameAccess(path).index
    decoded, converted = [], []
    real_decode, real_convert = decode.VideoDecoder._decode, decode.to_rgb
    monkeypatch.setattr(
        decode.VideoDecoder, "_decode", lambda *given: decoded.extend(found := real_decode(*given)) or found
    )
    monkeypatch.setattr(decode, "to_rgb", lambda *given: converted.append(1) or real_convert(*given))
    with FrameAccess(path, index=index) as access:
        assert access.frame_count == 160 and not decoded, "an index is as good as a scan"
        assert access.frame(150).index == 150
        assert len(decoded) < 24 and len(converted) == 1
        decoded.clear()
        list(access.forward(151, 155))
        assert len(decoded) < 24, "decoding goes on where it is"


def test_backward_holds_a_bounded_run(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "clip.mp4", moving_images(), options={"g": "8", "bf": "0"})
    decoder = decode.VideoDecoder(path)
    monkeypatch.setattr(frames, "HELD_BYTES", 8 * decoder.picture_bytes)
    decoder.close()
    asked: list[int] = []
    real = seek.PictureSeeker.picture
    monkeypatch.setattr(seek.PictureSeeker, "picture", lambda self, frame: asked.append(frame) or real(self, frame))
    with FrameAccess(path) as access:
        for done, frame in enumerate(access.backward(COUNT - 1, 0)):
            assert frame.index == COUNT - 1 - done
            assert len(asked) <= done + 8, "more than a run is held"
    assert sorted(asked) == list(range(COUNT))


def test_interleaved_uses_do_not_disturb_each_other(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", moving_images(), options=GROUPS["libx264"])
    expected = read_all(path)
    with FrameAccess(path) as access:
        there, back = access.forward(3, 30), access.backward(30, 3)
        for step in range(28):
            assert_same(next(there), expected[3 + step])
            assert_same(next(back), expected[30 - step])
            assert_same(access.frame(7), expected[7])
        assert list(there) == list(back) == []


def test_a_frame_that_there_is_not(clip, tmp_path):
    Image.fromarray(flat_images(1)[0]).save(tmp_path / "0.png")
    for source, count in ((clip, 12), (tmp_path, 1)):
        with FrameAccess(source) as access:
            for index in (-1, count):
                for call, given in (
                    (access.frame, [index]),
                    (access.forward, [0, index]),
                    (access.backward, [index, 0]),
                ):
                    with pytest.raises(InputError, match=f"no frame {index} .* 0 to {count - 1}"):
                        call(*given)


def test_folders_in_any_order(tmp_path):
    for number in (1, 2, 10, 11):
        Image.fromarray(flat_images(12)[number]).save(tmp_path / f"frame{number}.png")
    assert_any_order(tmp_path)
    with FrameAccess(tmp_path) as access:
        index = access.index
        assert access.frame(2).name == "frame10"
    (tmp_path / "frame2.png").unlink()
    with FrameAccess(tmp_path, index=index) as access:
        assert access.frame_count == 3


def test_an_index_of_another_file_is_not_used(clip, tmp_path):
    other = write_clip(tmp_path / "other.mp4", moving_images(5))
    with FrameAccess(other) as access:
        index = access.index
    with FrameAccess(clip, index=index) as access:
        assert access.frame_count == 12


def sound_of(path: Path) -> list[tuple[int, bytes]]:
    """Each packet of sound and its time."""
    with av.open(str(path)) as container:
        return [(packet.pts, bytes(packet)) for packet in container.demux(audio=0) if packet.size]


def times_of(path: Path) -> list[tuple[int, int]]:
    """When each picture is shown, and for how long."""
    with av.open(str(path)) as container:
        return [(packet.pts, packet.duration) for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize(("first", "last", "seconds"), [(0, COUNT - 1, 2.2), (5, 14, 0.4), (30, COUNT - 1, 1.0)])
def test_a_writer_takes_it_for_a_reader(tmp_path, first, last, seconds):
    """Sound of a trimmed range begins and ends with it; up to the source's own end where the range goes there."""
    source = write_clip(
        tmp_path / "source.mp4", moving_images(), options=GROUPS["libx264"], audio="aac", audio_seconds=2.2
    )
    out = tmp_path / "out.mp4"
    with FrameAccess(source) as access, VideoWriter(out, access) as writer:
        for frame in access.forward(first, last):
            writer.write(frame.image, frame)
    assert len(read_all(out)) == last - first + 1
    with av.open(str(out)) as container:
        ends = [float((p.pts + p.duration) * p.time_base) for p in container.demux(audio=0) if p.size]
    assert max(ends) == pytest.approx(seconds, abs=0.06)
    if first == 0:
        copy = copy_clip(source, tmp_path / "copy.mp4")  # x264's threads do not give the same bytes every time
        assert sound_of(out) == sound_of(copy) and times_of(out) == times_of(copy)


@pytest.mark.parametrize(("width", "height", "threads"), [(64, 48, 1), (1024, 576, 4)])
def test_beside_a_network_small_pictures_are_decoded_by_one_thread_and_large_ones_by_several(
    tmp_path, monkeypatch, width, height, threads
):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    clip = write_clip(tmp_path / "clip.mp4", flat_images(3, width, height))
    for beside, expected in ((True, threads), (False, 4)):
        decoder = decode.VideoDecoder(clip, beside=beside)
        assert decoder._stream.codec_context.thread_count == expected
        assert sum(1 for _ in decoder) == 3
        decoder.close()
