"""Small real clips, made with PyAV."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from xmem.video import Frame, FrameReader, VideoWriter

WIDTH, HEIGHT, COUNT, RATE = 64, 48, 12, 25
AUDIO_RATE = 44_100


def grey(index: int) -> int:
    """The brightness that tells which frame this is."""
    return 20 + 16 * index


def flat_images(count: int = COUNT, width: int = WIDTH, height: int = HEIGHT) -> list[np.ndarray]:
    """Frame i is uint8 [height, width, 3] of brightness grey(i)."""
    return [np.full((height, width, 3), grey(index), np.uint8) for index in range(count)]


def write_clip(
    path: Path,
    images: Sequence[np.ndarray] | None = None,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, RATE),
    options: dict[str, str] | None = None,
    audio: str | None = None,
    audio_seconds: float | None = None,
    audio_start: float = 0.0,
    configure: Callable[[av.VideoStream], None] | None = None,
    last_duration: int | None = None,
) -> Path:
    """A clip of these images at these times (ticks of time_base), with a 440 Hz tone when `audio` names a codec."""
    images = flat_images() if images is None else images
    times = list(range(len(images))) if times is None else times
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, options=options or {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.time_base = stream.codec_context.time_base = time_base
        if configure:
            configure(stream)
        sound = container.add_stream(audio, rate=48_000 if audio == "libopus" else AUDIO_RATE) if audio else None
        if sound is not None:
            sound.layout = "stereo"
        for image, time in zip(images, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24" if image.ndim == 3 else "gray")
            if image.ndim == 3 and image.shape[2] == 4:
                frame = av.VideoFrame.from_ndarray(image, format="rgba")
            frame.pts, frame.time_base = time, time_base
            for packet in stream.encode(frame):
                if last_duration:
                    packet.duration = last_duration
                container.mux(packet)
        for packet in stream.encode(None):
            if last_duration:
                packet.duration = last_duration
            container.mux(packet)
        if sound is not None:
            seconds = audio_seconds or float((times[-1] + 1) * time_base)
            for packet in _tone(sound, seconds, audio_start):
                container.mux(packet)
    return path


def _tone(sound: av.AudioStream, seconds: float, start: float):
    rate, size = sound.rate, 960
    for first in range(0, int(seconds * rate), size):
        at = (first + np.arange(size)) / rate
        wave = np.sin(2 * np.pi * 440 * at) * 0.5
        chunk = np.repeat(wave[None], 2, axis=0).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = rate, first + round(start * rate), Fraction(1, rate)
        resampler = av.AudioResampler(sound.codec_context.format.name, "stereo", rate)
        for converted in resampler.resample(frame):
            yield from sound.encode(converted)
    yield from sound.encode(None)


def read_all(path: Path) -> list[Frame]:
    """Every frame of a small clip."""
    with FrameReader(path) as reader:
        return list(reader)


def copy_clip(source: Path, target: Path, stop: int | None = None) -> Path:
    """Through the reader and the writer, up to frame `stop`."""
    with FrameReader(source) as reader, VideoWriter(target, reader) as writer:
        for frame in reader:
            if frame.index == stop:
                break
            writer.write(frame.image, frame)
    return target


def brightness(frames: Sequence[Frame]) -> list[float]:
    """Mean brightness per frame."""
    return [float(frame.image.mean()) for frame in frames]
