"""Opening what a user gave: only real files, only demuxers that read nothing else, only clear refusals."""

from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from xmem.errors import InputError

# Demuxers that read one file and nothing else. Playlists and scripts (hls, dash, concat, sdp, image2 ...) open whatever
# their text names, and so stay out; so do devices (lavfi, v4l2). Names are FFmpeg's; any alias of a demuxer matches.
_DEMUXERS = (
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
_OPEN_OPTIONS = {"format_whitelist": ",".join(_DEMUXERS), "protocol_whitelist": "file"}
_ADVICE = "use an MP4, MOV, MKV, WebM, AVI or GIF file"


def existing_path(source: str | Path) -> Path:
    """The absolute path of an existing regular file or folder; an absolute path is never taken for an address.

    Raises InputError when there is none.
    """
    path = Path(source).expanduser()
    if not path.exists():
        hint = "addresses are not fetched, give a file" if ":" in str(source) else "check the path"
        raise InputError(f"There is no file or folder {str(source)!r}; {hint}.")
    if not (path.is_file() or path.is_dir()):
        raise InputError(f"{path.name!r} is neither a regular file nor a folder; {_ADVICE}.")
    return path.resolve()


def open_container(path: Path) -> InputContainer:
    """Open a video file with the demuxers of the list above. Raises InputError."""
    if path.stat().st_size == 0:
        raise InputError(f"The file {path.name!r} is empty; copy or export it again.")
    try:
        return av.open(str(path), container_options=_OPEN_OPTIONS)
    except PermissionError as error:
        raise InputError(f"The file {path.name!r} may not be read; change its permissions.") from error
    except av.error.ArgumentError as error:  # a demuxer that is not on the list
        raise InputError(
            f"{path.name!r} is no video of a supported kind (playlists are refused); {_ADVICE}, or a folder of images."
        ) from error
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(f"{path.name!r} is not a video, or its beginning or end is missing; {_ADVICE}.") from error


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The video stream to segment, never a cover picture. Raises InputError without one, or without its decoder."""
    cover = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams:
        kind = "only sound" if container.streams.audio else "no video"
        raise InputError(f"{path.name!r} holds {kind}; give a file with a picture track.")
    decodable = [stream for stream in streams if stream.codec_context is not None]
    if not decodable:
        raise InputError(f"No decoder is at hand for the video in {path.name!r}; convert it to H.264 MP4.")
    best = container.streams.best("video")
    return best if best in decodable else decodable[0]
