"""Files made to do harm: they get the sentence that any other useless file gets, and cost next to nothing."""

import random
import struct
from fractions import Fraction
from pathlib import Path

import av
import pytest
from PIL import Image

from tests.hostile import MEGABYTE, claiming_samples, gif, memory_rise, mutated, png
from tests.video.clips import copy_clip, flat_images, read_all, write_clip
from xmem.errors import InputError
from xmem.limits import Limits
from xmem.video import FrameAccess, FrameReader, probe
from xmem.video.claims import MAX_SAMPLES
from xmem.video.images import load_image
from xmem.video.source import SOUND_DECODERS, VIDEO_DECODERS, open_container
from xmem.video.stills import FORMATS, read_still

WAYS_IN = (probe, FrameReader, FrameAccess)


def refused(source: Path, match: str, megabytes: int = 40) -> None:
    """By every way in, in a sentence, within so much memory."""
    for attempt in WAYS_IN:

        def work(attempt=attempt) -> None:
            with pytest.raises(InputError, match=match) as refusal:
                attempt(source)
            assert str(source.parent) not in str(refusal.value)

        assert memory_rise(work) < megabytes * MEGABYTE


def test_a_gif_of_16000_pixels_a_side_is_refused_by_its_header(tmp_path):
    """Decoded, one frame of it takes a gigabyte."""
    refused(gif(tmp_path / "huge.gif", 16_000, 16_000), "16000x16000, more than the 36 megapixels")


def test_a_folder_of_huge_images_is_refused_by_their_headers(tmp_path):
    png(tmp_path / "0.png", 16_000, 16_000)
    refused(tmp_path, "far too large")
    png(tmp_path / "0.png", 8000, 8000)
    refused(tmp_path, "8000x8000, more than the 36 megapixels")
    with pytest.raises(InputError, match="more than the 36"):
        load_image(tmp_path / "0.png")


@pytest.mark.parametrize("count", [MAX_SAMPLES + 1, 60_000_000, 2**32 - 1])
def test_an_mp4_that_claims_millions_of_samples_is_not_opened(tmp_path, clip, count):
    """FFmpeg alone takes 2 GB for 30 million samples, claimed by a file of 2 kB."""
    path = tmp_path / "claims.mp4"
    path.write_bytes(claiming_samples(clip.read_bytes(), count))
    refused(path, "claims more than 4,000,000")


@pytest.mark.parametrize("way", ["repeated by edits", "in a fragment", "in user data", "compressed"])
def test_claims_are_found_where_ffmpeg_finds_them(tmp_path, way):
    movie = write_clip(tmp_path / "whole.mp4").read_bytes()
    at = movie.index(b"moov") - 4
    head, moov = movie[:at], movie[at:]
    if way == "repeated by edits":
        assert b"elst" in moov
        place = moov.index(b"elst") + 8
        moov = moov[:place] + struct.pack(">I", MAX_SAMPLES) + moov[place + 4 :]
    elif way == "in a fragment":
        run = _box(b"trun", struct.pack(">II", 0, 60_000_000))
        moov += _box(b"moof", _box(b"traf", _box(b"tfhd", struct.pack(">II", 0, 1)) + run))
    elif way == "in user data":
        moov = _box(b"moov", moov[8:] + _box(b"udta", _box(b"stsz", struct.pack(">III", 0, 1, 60_000_000))))
    else:
        moov = _box(b"moov", _box(b"cmov", _box(b"dcom", b"zlib") + _box(b"cmvd", bytes(100))))
    path = tmp_path / "claims.mp4"
    path.write_bytes(head + moov)
    refused(path, "claims more than|cannot be checked")


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def test_an_hour_of_uncompressed_sound_is_no_claim(tmp_path):
    """Every sample of it counts in a MOV: 173 million an hour, of which FFmpeg makes few entries."""
    path = write_clip(tmp_path / "sound.mov", audio="pcm_s16le", audio_seconds=2)
    movie = path.read_bytes()
    place = movie.index(b"stsz", movie.index(b"soun")) + 12
    assert struct.unpack(">I", movie[place : place + 4])[0] > 80_000
    path.write_bytes(movie[:place] + struct.pack(">I", 173_000_000) + movie[place + 4 :])
    assert probe(path).frame_count == 12


def test_fragmented_files_are_read(tmp_path):
    path = tmp_path / "fragments.mp4"
    whole, options = write_clip(tmp_path / "whole.mp4"), {"movflags": "frag_keyframe+empty_moov"}
    with av.open(str(whole)) as old, av.open(str(path), "w", options=options) as new:
        _remux(old, new)
    with FrameAccess(path) as access:
        assert access.frame_count == 12


@pytest.mark.parametrize(("codec", "suffix"), [("zmbv", "avi"), ("qtrle", "mov"), ("snow", "avi")])
def test_a_decoder_that_is_not_on_the_list_never_runs(tmp_path, codec, suffix):
    pix_fmt = {"zmbv": "bgr0", "qtrle": "rgb24", "snow": "yuv420p"}[codec]
    options = {"strict": "-2"} if codec == "snow" else {}
    path = write_clip(tmp_path / f"old.{suffix}", codec=codec, pix_fmt=pix_fmt, options=options)
    with av.open(str(path)) as control:
        assert control.streams.video[0].codec_context.name == codec
    refused(path, "No decoder is at hand")
    with open_container(path) as container, pytest.raises(av.error.FFmpegError):
        next(container.decode(container.streams.video[0]))  # not even by who forgets to ask


def test_every_decoder_on_the_list_is_one_of_ffmpeg():
    """No name of the lists is misspelt; some builds lack one or the other."""
    there = [name for name in VIDEO_DECODERS + SOUND_DECODERS if name in av.codecs_available]
    assert len(there) >= len(VIDEO_DECODERS + SOUND_DECODERS) - 4
    assert not {"vvc", "apac"} & set(VIDEO_DECODERS + SOUND_DECODERS)


def test_pictures_that_grow_on_the_way_are_not_decoded(tmp_path, monkeypatch):
    """Each part of a transport stream has a size of its own."""
    allowed = Limits(frame_pixels=64 * 48)
    parts = [write_clip(tmp_path / f"{n}.ts", flat_images(4, 64 * n, 48 * n)).read_bytes() for n in (1, 4)]
    (tmp_path / "joined.ts").write_bytes(b"".join(parts))
    for name in ("xmem.limits.limits", "xmem.video.source.limits"):
        monkeypatch.setattr(name, lambda: allowed)
    with FrameReader(tmp_path / "joined.ts") as reader:
        frames = list(reader)
    assert 1 <= len(frames) <= 4


def test_absurd_pixels_are_taken_as_square(tmp_path, caplog):
    """With the aspect that it claims, an animation of this clip would be two million pixels wide."""

    def stretch(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    path = write_clip(tmp_path / "wide.mov", codec="mjpeg", pix_fmt="yuvj420p", configure=stretch)
    with FrameAccess(path) as access:
        assert access.sample_aspect == Fraction(4, 3)
    movie, claim = path.read_bytes(), struct.pack(">II", 32_768, 1)
    place = movie.index(b"pasp") + 4
    path.write_bytes(movie[:place] + claim + movie[place + 8 :])
    with av.open(str(path)) as control:
        assert control.streams.video[0].sample_aspect_ratio == 32_768
    with FrameAccess(path) as access:
        assert access.sample_aspect == 1
    assert "taken as square" in caplog.text


def test_no_more_frames_than_allowed(tmp_path, monkeypatch):
    allowed = Limits(frames=11)
    monkeypatch.setattr("xmem.limits.limits", lambda: allowed)
    for name in ("long.mp4", "long.ts"):
        refused(write_clip(tmp_path / name), "more than the 11 frames")
    (tmp_path / "images").mkdir()
    for index in range(12):
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / f"{index}.png")
    refused(tmp_path / "images", "more than the 11 frames")


def test_postscript_is_never_handed_to_another_program(tmp_path, monkeypatch):
    """Pillow gives EPS to Ghostscript, where that is installed; not under any name, from any reader of images."""
    import PIL.EpsImagePlugin

    def started(*_args, **_options) -> None:
        raise AssertionError("Ghostscript was asked for")

    monkeypatch.setattr(PIL.EpsImagePlugin, "Ghostscript", started)
    path = tmp_path / "0.png"
    Image.new("RGB", (8, 8)).save(path, format="EPS")
    with pytest.raises(AssertionError):
        Image.open(path).load()
    for attempt in (load_image, lambda source: read_still(source, "It", "no")):
        with pytest.raises(InputError, match="not a readable image"):
            attempt(path)
    assert "EPS" not in FORMATS


def test_images_are_opened_in_one_place():
    """And with its list of formats."""
    root = Path(__file__).parents[2]
    sources = [path for folder in ("xmem", "demo") for path in (root / folder).rglob("*.py")]
    found = [path.name for path in sources if "Image.open(" in path.read_text()]
    assert found == ["stills.py"]


def test_metadata_in_no_known_encoding(tmp_path):
    path = write_clip(tmp_path / "named.mkv")
    with av.open(str(path)) as old, av.open(str(tmp_path / "new.mkv"), "w") as new:
        new.metadata["title"] = "TITLETITLE"
        _remux(old, new)
    path.write_bytes((tmp_path / "new.mkv").read_bytes().replace(b"TITLETITLE", b"\xff\xfe\xc3\x28\xa0TITLE"))
    assert probe(path).frame_count == 12


def _remux(old: av.container.InputContainer, new: av.container.OutputContainer) -> None:
    stream = new.add_stream_from_template(old.streams.video[0])
    for packet in old.demux(video=0):
        if packet.size:
            packet.stream = stream
            new.mux(packet)


def test_a_clock_finer_than_any_player_takes_keeps_the_order_of_frames(tmp_path):
    path = write_clip(tmp_path / "fine.ivf", flat_images(6), codec="libvpx-vp9")
    head = bytearray(path.read_bytes())
    head[16:20] = struct.pack("<I", 1_073_741_849)  # ticks per second
    path.write_bytes(head)
    assert len(read_all(copy_clip(path, tmp_path / "out.mp4"))) == 6


def test_pictures_in_colours_that_nobody_knows_are_refused(tmp_path):
    path = write_clip(tmp_path / "odd.mov", codec="prores_ks", pix_fmt="yuv422p10le")
    movie = bytearray(path.read_bytes())
    movie[movie.index(b"icpf") + 20] = 14  # the matrix of the first picture: ICtCp
    path.write_bytes(movie)
    with pytest.raises(InputError, match="colours cannot be read"):
        read_all(path)


def test_sound_that_cannot_be_copied_leaves_no_half_written_file(tmp_path):
    path = write_clip(tmp_path / "sound.mkv", audio="libopus", audio_seconds=0.2)
    path.write_bytes(path.read_bytes().replace(b"\x63\xa2\x93OpusHead", b"\x53\xa2\x93OpusHead"))
    with pytest.raises(InputError, match="sound are damaged"):
        copy_clip(path, tmp_path / "out" / "out.mp4")
    assert list((tmp_path / "out").iterdir()) == []


# Mutations of real files


def copies(folder: Path) -> list[Path]:
    """A clip per container and codec that people have, as small as can be."""
    images = flat_images(6)
    made = [
        write_clip(folder / "a.mp4", images, options={"bf": "2"}, audio="aac", audio_seconds=0.2),
        write_clip(folder / "b.mkv", images, audio="libopus", audio_seconds=0.2),
        write_clip(folder / "c.webm", images, codec="libvpx-vp9"),
        write_clip(folder / "d.avi", images, codec="mpeg4", audio="mp2", audio_seconds=0.2),
        write_clip(folder / "e.ts", images),
        write_clip(folder / "f.mov", images, codec="mjpeg", pix_fmt="yuvj420p", audio="pcm_s16le", audio_seconds=0.2),
        write_clip(folder / "g.gif", images, codec="gif", pix_fmt="rgb8"),
    ]
    return [path for path in made if path.exists()]


def test_damaged_videos_are_read_as_far_as_they_go_or_refused(tmp_path):
    """A seeded sample of mutations; nothing but InputError leaves any of the ways in."""
    rng = random.Random(14)
    wholes = [(path.suffix, path.read_bytes()) for path in copies(tmp_path)]
    outcomes = {"read": 0, "refused": 0}
    for number in range(105):
        suffix, whole = wholes[number % len(wholes)]
        path = tmp_path / f"mutated{suffix}"
        path.write_bytes(mutated(whole, rng))
        outcomes[fate_of(path, tmp_path / "out.mp4")] += 1
    assert min(outcomes.values()) > 10, outcomes


def fate_of(path: Path, out: Path) -> str:
    """Whether a file can be read; it is described, read in any order, and written again with its sound."""
    try:
        probe(path)
        with FrameAccess(path) as access:
            last = access.frame_count - 1
            list(access.backward(last, max(0, last - 3)))
        copy_clip(path, out, stop=8)
    except InputError as error:
        assert str(path.parent) not in str(error)
        return "refused"
    return "read"
