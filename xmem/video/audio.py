"""The source's sound beside the new video: copied where browsers play it in MP4, else re-encoded to AAC."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer

from xmem.video.sound_source import Piece, Sound, SoundSource, open_sound

_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # hertz
_AAC_LAYOUTS = ("mono", "stereo", "5.1")
_BITS_PER_CHANNEL = 96_000  # per second
_ENCODERS = {  # of what is copied, by its decoder
    "aac": "aac",
    "mp3": "libmp3lame",
    "mp3float": "libmp3lame",
    "opus": "libopus",
    "libopus": "libopus",
    "vorbis": "libvorbis",
    "libvorbis": "libvorbis",
}


class AudioTrack:
    """Feeds one sound into an output container, as far as the video has come, piece by piece."""

    is_decoded: bool  # what it wants of its source

    @classmethod
    def open(cls, path: Path, output: OutputContainer, origin: Fraction) -> AudioTrack | None:
        """The track for the best sound of a file, or None (and a warning) where it cannot be read.

        Times count from `origin`, seconds on the file's clock; earlier sound is left out.
        """
        return open_track(path, output, origin, _plays_in_mp4, EncodedTrack)

    def __init__(self, source: SoundSource, output: OutputContainer) -> None:
        self._source, self._output = source, output
        self._sound = source.sound
        self._target = self._add_stream()
        self._pieces = source.pieces(self.is_decoded)
        self._pending = next(self._pieces, None)

    def advance(self, until: Fraction | None) -> None:
        """Write the sound that starts before `until` (seconds of output time); all of it for None."""
        while self._pending is not None and (until is None or self._pending.time < until):
            self._take(self._pending)
            self._pending = next(self._pieces, None)

    def finish(self, end: Fraction | None) -> None:
        """Write what is left up to `end` (seconds), or up to the source's own end for None."""
        self.advance(end)

    def close(self) -> None:
        """Free the source file."""
        self._pieces.close()
        self._source.close()

    def _add_stream(self) -> AudioStream:
        raise NotImplementedError

    def _take(self, piece: Piece) -> None:
        raise NotImplementedError


class CopiedTrack(AudioTrack):
    """The sound as it is."""

    is_decoded = False

    def _add_stream(self) -> AudioStream:
        """By an encoder of the kind, which never encodes: it announces what the source's decoder wants to know."""
        stream = self._output.add_stream(_ENCODERS[self._sound.codec], rate=self._sound.rate)
        assert isinstance(stream, AudioStream)
        context = stream.codec_context
        context.layout = self._sound.layout
        context.open()
        context.extradata = self._sound.extra or None
        stream.time_base = self._sound.time_base
        return stream

    def _take(self, piece: Piece) -> None:
        packet = av.Packet(piece.data)
        packet.pts = packet.dts = round(piece.time / self._sound.time_base)
        packet.duration = piece.duration
        packet.time_base = self._sound.time_base
        packet.is_keyframe = True
        packet.stream = self._target
        self._output.mux(packet)


class EncodedTrack(AudioTrack):
    """The sound encoded again, in step with the clock."""

    is_decoded = True

    def _add_stream(self) -> AudioStream:
        rate = self._sound.rate if self._sound.rate in _AAC_RATES else 48_000
        name = self._sound.layout
        layout = name if name in _AAC_LAYOUTS else "mono" if self._sound.channels == 1 else "stereo"
        stream = self._output.add_stream("aac", rate=rate)
        stream.layout = layout
        stream.bit_rate = _BITS_PER_CHANNEL * stream.channels
        self._end: Fraction | None = None
        self._graph: av.filter.Graph | None = None
        return stream

    def _take(self, piece: Piece) -> None:
        base = self._sound.time_base
        for frame in piece.frames:
            if frame.pts is not None and piece.stamp is not None:
                shift = piece.time - piece.stamp * base
                frame.pts = round((frame.pts * (frame.time_base or base) + shift) * frame.sample_rate)
                frame.time_base = Fraction(1, frame.sample_rate)
            if self._graph is None:
                self._graph = self._make_graph(frame)
            self._filter(self._graph, frame)

    def finish(self, end: Fraction | None) -> None:
        self._end = end
        self.advance(end)
        if self._graph is not None:
            self._filter(self._graph, None)
            self._mux(self._target.encode(None))

    def _filter(self, graph: av.filter.Graph, frame: av.AudioFrame | None) -> None:
        """Resample, and keep in step with the clock: silence fills gaps, what lies before the first frame goes."""
        graph.push(frame)
        while True:
            try:
                resampled = graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            assert isinstance(resampled, av.AudioFrame)
            self._mux(self._target.encode(resampled))

    def _make_graph(self, frame: av.AudioFrame) -> av.filter.Graph:
        graph = av.filter.Graph()
        context = self._target.codec_context
        source = graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format.name,
            layout=frame.layout.name,
            time_base=Fraction(1, frame.sample_rate),
        )
        resample = graph.add("aresample", f"{context.sample_rate}:async=1:first_pts=0")
        form = graph.add("aformat", f"sample_fmts=fltp:channel_layouts={context.layout.name}")
        chunks = graph.add("asetnsamples", "n=1024:p=0")
        graph.link_nodes(source, resample, form, chunks, graph.add("abuffersink")).configure()
        return graph

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            if self._end is None or packet.pts is None or packet.pts * packet.time_base < self._end:
                self._output.mux(packet)


def open_track(
    path: Path,
    output: OutputContainer,
    origin: Fraction,
    is_copied: Callable[[Sound], bool],
    encoded: type[EncodedTrack],
) -> AudioTrack | None:
    """See `AudioTrack.open`. is_copied: whether the container can hold a sound as it is; else `encoded` encodes it."""
    source = open_sound(path, origin)
    if source is None:
        return None
    try:
        is_copied_here = is_copied(source.sound) and _can_be_announced(source.sound)
        return (CopiedTrack if is_copied_here else encoded)(source, output)
    except BaseException:
        source.close()
        raise


def _can_be_announced(sound: Sound) -> bool:
    """Whether there is an encoder of its kind that would take its rate and channels: see CopiedTrack."""
    try:
        context = av.CodecContext.create(_ENCODERS[sound.codec], "w")
        assert isinstance(context, av.AudioCodecContext)
        context.sample_rate, context.layout = sound.rate, sound.layout
        formats = context.codec.audio_formats
        if formats:
            context.format = formats[0]
        context.open()
    except (av.error.FFmpegError, ValueError, LookupError):
        return False
    return True


def _plays_in_mp4(sound: Sound) -> bool:
    """Whether every browser plays this sound from an MP4, so that it can be copied as it is."""
    return sound.codec in ("aac", "opus", "libopus") or (sound.codec in ("mp3", "mp3float") and sound.rate >= 16_000)
