"""The source's sound for containers other than MP4: copied where it fits, else encoded again."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer

from xmem.video.audio import AudioTrack, EncodedTrack, open_track

_OPUS_RATE = 48_000  # hertz
_OPUS_BITS_PER_CHANNEL = 64_000  # per second
_OPUS_SAMPLES = 960  # per packet


def open_for_webm(path: Path, output: OutputContainer, origin: Fraction) -> AudioTrack | None:
    """Opus and Vorbis as they are, anything else as Opus; see `AudioTrack.open`."""
    copied = ("opus", "libopus", "vorbis", "libvorbis")
    return open_track(path, output, origin, lambda sound: sound.codec in copied, _OpusTrack)


def open_for_mov(path: Path, output: OutputContainer, origin: Fraction) -> AudioTrack | None:
    """AAC as it is, anything else as PCM of 16 bits, which every editor reads; see `AudioTrack.open`."""
    return open_track(path, output, origin, lambda sound: sound.codec == "aac", _PcmTrack)


class _OpusTrack(EncodedTrack):
    def _add_stream(self) -> AudioStream:
        self._prepare()
        stream = self._output.add_stream("libopus", rate=_OPUS_RATE)
        stream.layout = "mono" if self._sound.channels == 1 else "stereo"
        stream.bit_rate = _OPUS_BITS_PER_CHANNEL * stream.channels
        return stream

    def _prepare(self) -> None:
        self._end: Fraction | None = None
        self._graph: av.filter.Graph | None = None

    def _make_graph(self, frame: av.AudioFrame) -> av.filter.Graph:
        """Like that of AAC: silence fills gaps, what lies before the first frame goes."""
        graph, context = av.filter.Graph(), self._target.codec_context
        source = graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format.name,
            layout=frame.layout.name,
            time_base=Fraction(1, frame.sample_rate),
        )
        resample = graph.add("aresample", f"{context.sample_rate}:async=1:first_pts=0")
        form = graph.add("aformat", f"sample_fmts={context.format.name}:channel_layouts={context.layout.name}")
        chunks = graph.add("asetnsamples", f"n={_OPUS_SAMPLES}:p=0")
        graph.link_nodes(source, resample, form, chunks, graph.add("abuffersink")).configure()
        return graph


class _PcmTrack(_OpusTrack):
    def _add_stream(self) -> AudioStream:
        self._prepare()
        stream = self._output.add_stream("pcm_s16le", rate=self._sound.rate)
        stream.layout = "mono" if self._sound.channels == 1 else "stereo"
        return stream
