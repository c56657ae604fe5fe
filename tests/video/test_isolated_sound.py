"""Sound from elsewhere is read by another process, with the same results; whatever becomes of it, this one goes on."""

import os
import signal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import pytest

from tests.video.apart import APART, in_this_process
from tests.video.clips import write_clip
from tests.video.test_access import moving_images
from tests.video.test_isolated import gone, readers
from xmem.errors import InputError
from xmem.video import FrameAccess, isolated, sound_source
from xmem.video.audio import AudioTrack
from xmem.video.sound import open_for_mov, open_for_webm
from xmem.video.sound_source import FileSound, IsolatedSound
from xmem.video.writer import SoundOpener, VideoWriter

OPENERS = {"mp4": AudioTrack.open, "webm": open_for_webm, "mov": open_for_mov}
pytestmark = APART


def written(source: Path, out: Path, opener: SoundOpener) -> bytes:
    """Its sound alone, from a tenth of a second on."""
    with av.open(str(out), "w", container_options={"fflags": "+bitexact"}) as output:
        track = opener(source, output, Fraction(1, 10))
        track.advance(Fraction(1, 4))
        track.finish(None)
        track.close()
    return out.read_bytes()


@pytest.mark.parametrize(
    ("suffix", "codec", "ending"),
    [
        ("mp4", "aac", "mp4"),
        ("ts", "aac", "mp4"),
        ("mkv", "libmp3lame", "mp4"),
        ("mkv", "flac", "mp4"),
        ("mkv", "libopus", "webm"),
        ("mp4", "aac", "webm"),
        ("mp4", "aac", "mov"),
        ("avi", "ac3", "mov"),
    ],
)
def test_the_same_sound_comes_along(tmp_path, monkeypatch, suffix, codec, ending):
    source, opener = write_clip(tmp_path / f"source.{suffix}", audio=codec), OPENERS[ending]
    expected = in_this_process(lambda: written(source, tmp_path / f"expected.{ending}", opener))
    monkeypatch.setattr(sound_source, "open_container", lambda _path: pytest.fail("the server reads sound itself"))
    assert written(source, tmp_path / f"found.{ending}", opener) == expected
    assert all(map(gone, readers()))


def test_an_export_is_refused_in_a_sentence_where_the_reader_breaks_down(tmp_path, monkeypatch):
    source = write_clip(tmp_path / "source.mkv", moving_images(40), audio="flac", audio_seconds=1.6)
    monkeypatch.setattr(sound_source, "SHARED_BYTES", 40_000)  # two pieces
    with FrameAccess(source) as access, VideoWriter(tmp_path / "out.mp4", access) as writer:
        frames = access.forward(0, 39)
        first = next(frames)
        writer.write(first.image, first)
        _, of_sound = readers()
        os.kill(of_sound, signal.SIGKILL)
        assert gone(of_sound)
        with pytest.raises(InputError, match=r"sound of 'source.mkv' broke off"):
            for frame in frames:
                writer.write(frame.image, frame)
    assert [path.name for path in tmp_path.iterdir()] == ["source.mkv"]


def test_a_file_without_sound_has_none_and_damage_ends_it(tmp_path, caplog):
    with av.open(str(tmp_path / "out.mp4"), "w") as output:
        assert AudioTrack.open(write_clip(tmp_path / "mute.mp4"), output, Fraction(0)) is None
    assert "sound of mute.mp4 cannot be read" in caplog.text
    with pytest.raises(InputError, match="is not a video"):
        (tmp_path / "words.mp4").write_text("words")
        IsolatedSound(tmp_path / "words.mp4", Fraction(0))
    assert all(map(gone, readers()))


@pytest.mark.parametrize(
    "lie",
    [
        {"at": -1},
        {"size": 1 << 40},
        {"time": "1/0"},
        {"frames": [{}]},
        {"format": "none"},
        {"samples": 7},
        {"layout": "wide"},
        {"rate": 0},
        {"pts": 1 << 80},
        {"pts": 1 << 60},
    ],
    ids=str,
)
def test_what_the_other_process_says_is_not_trusted(tmp_path, monkeypatch, lie):
    sound = IsolatedSound(write_clip(tmp_path / "source.mkv", audio="flac"), Fraction(0))
    honest = isolated.receive

    def receive(*args):
        answer, descriptors = honest(*args)
        for piece in answer.get("pieces", ()):
            piece.update(lie)
            for frame in piece["frames"]:
                frame.update(lie)
        return answer, descriptors

    monkeypatch.setattr(isolated, "receive", receive)
    with pytest.raises(InputError, match="broke off"):
        list(sound.pieces(decoded=True))


@pytest.mark.parametrize(
    "lie", [{"rate": 0}, {"layout": "wide"}, {"extra": "x"}, {"time_base": "0"}, {"said": 5}], ids=str
)
def test_what_it_says_of_the_sound_is_not_trusted_either(tmp_path, monkeypatch, lie):
    source, honest = write_clip(tmp_path / "source.mp4", audio="aac"), isolated.receive
    monkeypatch.setattr(isolated, "receive", lambda *args: (honest(*args)[0] | lie, []))
    with pytest.raises(InputError, match="broke off"):
        IsolatedSound(source, Fraction(0))
    assert all(map(gone, readers()))


def test_a_packet_whose_stream_calls_itself_another_kind_by_now_is_silence():
    """PyAV 19 then raises another error than for damage."""

    def refuses(_packet):
        raise ValueError("cannot decode unknown codec")

    assert FileSound._frames(SimpleNamespace(_stream=SimpleNamespace(decode=refuses)), None) == ()
