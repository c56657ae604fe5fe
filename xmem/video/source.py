"""Opening what a user gave: only real files, only demuxers that read nothing else, only clear refusals."""

import math
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from xmem.errors import InputError
from xmem.limits import check_shape, limits, pixels_read
from xmem.video.claims import check_claims

# Demuxers that read one file and nothing else. Playlists and scripts (hls, dash, concat, sdp, image2 ...) open whatever
# their text names, and so stay out; so do devices (lavfi, v4l2). Names are FFmpeg's; any alias of a demuxer matches.
DEMUXERS = (
    "mov",
    "matroska",
    "avi",
    "gif",
    "apng",
    "mpegts",
    "mpeg",
    "mpegvideo",
    "m4v",
    "h264",
    "hevc",
    "obu",
    "ivf",
    "flv",
    "asf",
    "ogg",
    "mxf",
    "dv",
    "nut",
    "yuv4mpegpipe",
)
# Decoders of what people have in such files. All others of FFmpeg's, some hundred, are never run.
VIDEO_DECODERS = (
    "h264",
    "hevc",
    "vp8",
    "vp9",
    "libdav1d",
    "av1",
    "mpeg1video",
    "mpeg2video",
    "mpeg4",
    "msmpeg4",
    "h263",
    "flv",
    "wmv2",
    "wmv3",
    "vc1",
    "theora",
    "mjpeg",
    "prores",
    "dnxhd",
    "dvvideo",
    "ffv1",
    "huffyuv",
    "rawvideo",
    "gif",
    "png",
    "apng",
)
SOUND_DECODERS = (
    "aac",
    "mp3",
    "mp3float",
    "mp2",
    "mp2float",
    "opus",
    "libopus",
    "vorbis",
    "libvorbis",
    "flac",
    "alac",
    "ac3",
    "eac3",
    "wmav2",
    "pcm_alaw",
    "pcm_mulaw",
    "pcm_u8",
    "pcm_s16le",
    "pcm_s16be",
    "pcm_s24le",
    "pcm_s24be",
    "pcm_s32le",
    "pcm_s32be",
    "pcm_f32le",
    "pcm_f32be",
)
_DECODERS = ",".join(VIDEO_DECODERS + SOUND_DECODERS)
_OPEN_OPTIONS = {
    "format_whitelist": ",".join(DEMUXERS),
    "protocol_whitelist": "file",
    "codec_whitelist": _DECODERS,  # of what FFmpeg itself decodes as it opens a file
}
_ADVICE = "use an MP4, MOV, MKV, WebM, AVI or GIF file"


# What decoding a packet raises where a file is damaged; the second where its stream calls itself another kind by now.
DAMAGE = (av.error.FFmpegError, ValueError)
# Names and comments in a file need not be text: PyAV 19 replaces what is none, and has no setting for it.
_WORDS: dict[str, Any] = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}


def existing_path(source: str | Path) -> Path:
    """The absolute path of an existing regular file or folder; an absolute path is never taken for an address.

    Raises InputError when there is none.
    """
    path = Path(source).expanduser()
    if not path.exists():
        hint = "addresses are not fetched, give a file" if ":" in str(source) else "check the path"
        raise InputError(f"There is no file or folder {path.name!r}; {hint}.")
    if not (path.is_file() or path.is_dir()):
        raise InputError(f"{path.name!r} is neither a regular file nor a folder; {_ADVICE}.")
    return path.resolve()


def open_container(path: Path) -> InputContainer:
    """Open a video file with the demuxers and decoders of the lists above. Raises InputError."""
    if path.stat().st_size == 0:
        raise InputError(f"The file {path.name!r} is empty; copy or export it again.")
    try:
        check_claims(path)
        container = av.open(str(path), container_options=_OPEN_OPTIONS, **_WORDS)
    except PermissionError as error:
        raise InputError(f"The file {path.name!r} may not be read; change its permissions.") from error
    except av.error.ArgumentError as error:  # a demuxer that is not on the list
        raise InputError(
            f"{path.name!r} is no video of a supported kind (playlists are refused); {_ADVICE}, or a folder of images."
        ) from error
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(f"{path.name!r} is not a video, or its beginning or end is missing; {_ADVICE}.") from error
    for stream in container.streams:
        if stream.codec_context is not None:
            # The container's list does not bind PyAV's own decoders. Pictures may also grow on the way.
            bounds = {"codec_whitelist": _DECODERS, "max_pixels": str(_coded_pixels(pixels_read()))}
            stream.codec_context.options = bounds
    return container


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The video stream to segment, never a cover picture.

    Raises InputError without one, without its decoder, or where it says that its pictures are too large.
    """
    cover = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams:
        kind = "only sound" if container.streams.audio else "no video"
        raise InputError(f"{path.name!r} holds {kind}; give a file with a picture track.")
    decodable = [stream for stream in streams if _name(stream) in VIDEO_DECODERS]
    if not decodable:
        raise InputError(f"No decoder is at hand for the video in {path.name!r}; convert it to H.264 MP4.")
    best = container.streams.best("video")
    stream = best if best in decodable else decodable[0]
    if stream.width and stream.height:  # else only its first picture tells
        check_shape(stream.width, stream.height, f"The frames of {path.name!r} are")
    return stream


def sound_stream(container: InputContainer) -> AudioStream | None:
    """The sound that goes with the video; None without one whose decoder is at hand."""
    decodable = [stream for stream in container.streams.audio if _name(stream) in SOUND_DECODERS and stream.rate]
    best = container.streams.best("audio")
    return best if best in decodable else next(iter(decodable), None)


def _coded_pixels(pixels: int) -> int:
    """Of a picture as it is coded, in blocks of up to 64 pixels a side, where so many are shown."""
    sides = (limits().aspect ** 0.5 + limits().aspect ** -0.5) * pixels**0.5  # the longest that both together may be
    return math.ceil(pixels + 63 * sides + 63**2)


def _name(stream: Stream) -> str | None:
    return None if stream.codec_context is None else stream.codec_context.name
