"""What is no video gets one clear sentence, and nothing else is ever opened."""

import os
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.video.clips import write_clip
from xmem.errors import InputError
from xmem.video import FrameAccess, FrameReader, probe

PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n",
    "hls-file-protocol": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:{other}\n#EXT-X-ENDLIST\n",
    "hls-http": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile '{other}'\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    '<Representation id="0" bandwidth="1"><BaseURL>{other}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "text": "Dear diary, today I renamed a text file.\n" * 50,
    "subtitles": "1\n00:00:01,000 --> 00:00:02,000\nHello\n\n",
    "html": "<!DOCTYPE html><html><body>Not found</body></html>",
    "asx": '<asx version="3.0"><entry><ref href="{other}"/></entry></asx>',
    "ism": '<?xml version="1.0"?><SmoothStreamingMedia MajorVersion="2"></SmoothStreamingMedia>',
    "svg": '<svg xmlns="http://www.w3.org/2000/svg"><image href="{other}"/></svg>',
}
SUFFIXES = {"hls": ".m3u8", "ffconcat": ".ffconcat", "dash": ".mpd", "sdp": ".sdp", "asx": ".asx"}


@pytest.mark.parametrize("renamed", [True, False])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_playlists_and_texts_are_refused_under_any_name(tmp_path, kind, renamed):
    other = write_clip(tmp_path / "other.ts")
    path = tmp_path / ("video.mp4" if renamed else f"video{SUFFIXES.get(kind, '.txt')}")
    path.write_text(PLAYLISTS[kind].format(other=other))
    _refused(path)


@pytest.mark.parametrize(
    "source",
    [
        "http://127.0.0.1:9/clip.mp4",
        "https://example.org/clip.mp4",
        "concat:{clip}|{clip}",
        "file:{clip}",
        "subfile,,start,0,end,100,,:{clip}",
        "data:video/mp4;base64,AAAA",
        "pipe:0",
        "testsrc",
        "frame%03d.png",
    ],
)
def test_addresses_protocols_and_patterns_are_never_followed(clip, source):
    _refused(source.format(clip=clip))


def test_a_real_file_with_an_address_like_name_is_just_a_file(clip, monkeypatch):
    monkeypatch.chdir(clip.parent)
    Path("concat:clip.mp4").write_bytes(clip.read_bytes())
    assert probe("concat:clip.mp4").frame_count == 12


def test_movie_references_to_other_files_are_not_followed(tmp_path):
    """A QuickTime movie whose samples lie in the file beside it: FFmpeg could follow the reference, we do not."""
    whole = write_clip(tmp_path / "whole.mov").read_bytes()
    path = tmp_path / "hollow.mov"
    path.write_bytes(_with_samples_in("whole.mov", whole))
    with av.open(str(path), container_options={"enable_drefs": "1"}) as control:
        assert len(list(control.decode(video=0))) == 12
    _refused(path)


def _with_samples_in(other: str, movie: bytes) -> bytes:
    """The movie with zeros for samples and an alias data reference to the file `other` in its own folder."""
    name = other.encode()
    path = b"/" + name + b"\0" * (len(name) % 2 == 0)
    alias = bytes(10) + bytes(28) + bytes(12) + bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16)
    alias += struct.pack(">hh", 1, 1) + bytes(16)  # levels up from here, and down to the file
    alias += struct.pack(">hh", 2, len(path)) + path + struct.pack(">hh", -1, 0)
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    dref = movie.index(b"dref")
    old_size = struct.unpack(">I", movie[dref + 12 : dref + 16])[0]
    hollow = bytearray(movie[: dref + 12] + entry + movie[dref + 12 + old_size :])
    for atom in (b"moov", b"trak", b"mdia", b"dref", b"dinf"):
        at = hollow.index(atom) - 4
        hollow[at : at + 4] = struct.pack(">I", struct.unpack(">I", hollow[at : at + 4])[0] + len(entry) - old_size)
    at = hollow.rindex(b"minf") - 4
    hollow[at : at + 4] = struct.pack(">I", struct.unpack(">I", hollow[at : at + 4])[0] + len(entry) - old_size)
    start, end = movie.index(b"mdat") + 4, movie.index(b"moov") - 4
    hollow[start:end] = bytes(end - start)
    return bytes(hollow)


def _refused(source) -> str:
    """One sentence that names the file, from every way in."""
    for attempt in (probe, FrameReader, FrameAccess):
        with pytest.raises(InputError) as refusal:
            attempt(source)
    message = str(refusal.value)
    assert message.endswith(".") and "\n" not in message and len(message) < 250
    return message


def test_empty(tmp_path):
    (tmp_path / "empty.mp4").touch()
    assert "empty" in _refused(tmp_path / "empty.mp4")


def test_missing(tmp_path):
    assert "no file or folder" in _refused(tmp_path / "missing.mp4")


def test_truncated_without_its_index(clip):
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    assert "missing" in _refused(clip)


def test_random_bytes(tmp_path):
    path = tmp_path / "noise.mp4"
    path.write_bytes(bytes(range(256)) * 40)
    _refused(path)


def test_header_without_a_decodable_frame(tmp_path):
    whole = write_clip(tmp_path / "whole.mkv").read_bytes()
    path = tmp_path / "header.mkv"
    path.write_bytes(whole[: whole.index(b"\x1f\x43\xb6\x75") + 40])  # a little of the first frame
    assert "decoded" in _refused(path)


def test_audio_only(tmp_path):
    path = tmp_path / "sound.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44_100)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 44_100, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert "only sound" in _refused(path)


def test_folder_without_images(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing here")
    assert "no images" in _refused(tmp_path)


def test_a_single_picture_is_not_a_video(tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "photo.png")
    assert "folder" in _refused(tmp_path / "photo.png")


def test_a_fifo_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "regular file" in _refused(tmp_path / "pipe.mp4")
