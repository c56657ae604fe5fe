"""The source's sound beside the new video: copied where browsers play it in MP4, else re-encoded to AAC."""

import logging
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer

from xmem.video.source import open_container, sound_stream
from xmem.video.timeline import Timeline

_log = logging.getLogger("xmem")
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # hertz
_AAC_LAYOUTS = ("mono", "stereo", "5.1")
_BITS_PER_CHANNEL = 96_000  # per second
# A decoder needs the packet or two before the first audible one (AAC priming, Opus preskip); an edit list hides them.
_PREROLL = Fraction(1, 20)  # seconds


class AudioTrack:
    """Feeds one sound stream of `path` into an output container, as far as the video has come, packet by packet.

    Times count from `origin`, seconds on the source's clock. Earlier sound is left out.
    """

    @classmethod
    def open(cls, path: Path, output: OutputContainer, origin: Fraction) -> "AudioTrack | None":
        """The track for the best sound stream of a file, or None (and a warning) where it cannot be read."""
        container = open_container(path)
        stream = sound_stream(container)
        if stream is None:
            _log.warning("The sound of %s cannot be read; the result has none.", path.name)
            container.close()
            return None
        return (_CopiedTrack if _plays_in_mp4(stream) else _EncodedTrack)(container, stream, output, origin)

    def __init__(
        self, container: InputContainer, source: AudioStream, output: OutputContainer, origin: Fraction
    ) -> None:
        self._container = container
        self._source = source
        self._output = output
        self._origin = origin
        self._base = source.time_base or Fraction(1, source.rate)  # seconds per tick
        self._target = self._add_stream()
        self._packets = self._timed()
        self._pending = next(self._packets, None)

    def advance(self, until: Fraction | None) -> None:
        """Write the sound that starts before `until` (seconds of output time); all of it for None."""
        while self._pending is not None and (until is None or self._pending[0] < until):
            self._take(*self._pending)
            self._pending = next(self._packets, None)

    def finish(self, end: Fraction | None) -> None:
        """Write what is left up to `end` (seconds), or up to the source's own end for None."""
        self.advance(end)

    def close(self) -> None:
        """Free the source file."""
        self._packets.close()
        self._container.close()

    def _add_stream(self) -> AudioStream:
        raise NotImplementedError

    def _take(self, time: Fraction, packet: av.Packet) -> None:
        raise NotImplementedError

    def _timed(self) -> Generator[tuple[Fraction, av.Packet], None, None]:
        """Packets with their start in output time (seconds), strictly increasing."""
        timeline = Timeline(self._base, Fraction(1024, self._source.rate))
        try:
            for packet in self._container.demux(self._source):
                if packet.size == 0:
                    continue
                stamp = timeline.place(packet.dts if packet.pts is None else packet.pts)
                time = stamp * self._base - self._origin
                if time + (packet.duration or 0) * self._base > -_PREROLL:
                    yield time, packet
        except (av.error.FFmpegError, OSError) as error:
            _log.warning("The sound ends early: its file is damaged or cut (%s).", error.strerror)


class _CopiedTrack(AudioTrack):
    def _add_stream(self) -> AudioStream:
        return self._output.add_stream_from_template(self._source)

    def _take(self, time: Fraction, packet: av.Packet) -> None:
        packet.pts = packet.dts = round(time / self._base)
        packet.time_base = self._base
        packet.stream = self._target
        self._output.mux(packet)


class _EncodedTrack(AudioTrack):
    def _add_stream(self) -> AudioStream:
        rate = self._source.rate if self._source.rate in _AAC_RATES else 48_000
        name = self._source.layout.name
        layout = name if name in _AAC_LAYOUTS else "mono" if self._source.channels == 1 else "stereo"
        stream = self._output.add_stream("aac", rate=rate)
        stream.layout = layout
        stream.bit_rate = _BITS_PER_CHANNEL * stream.channels
        self._end: Fraction | None = None
        self._graph: av.filter.Graph | None = None
        return stream

    def _take(self, time: Fraction, packet: av.Packet) -> None:
        try:
            frames = self._source.decode(packet)
        except av.error.FFmpegError:
            return  # one damaged packet of sound; the filter fills its place with silence
        stamp = packet.dts if packet.pts is None else packet.pts
        for frame in frames:
            if frame.pts is not None and stamp is not None:
                shift = time - stamp * self._base
                frame.pts = round((frame.pts * (frame.time_base or self._base) + shift) * frame.sample_rate)
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


def _plays_in_mp4(stream: AudioStream) -> bool:
    """Whether every browser plays this sound from an MP4, so that it can be copied as it is."""
    name = stream.codec_context.name
    return name in ("aac", "opus", "libopus") or (name in ("mp3", "mp3float") and stream.rate >= 16_000)
