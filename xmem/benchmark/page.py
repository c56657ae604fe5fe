"""The way of a run on the page, from a video to a session's results, and that from file to file: with a network that
costs nothing or a real one.

python -m xmem.benchmark.page --frames 300 --objects 1    # frames per second, and processor time of a frame
python -m xmem.benchmark.page --host-alone                # without what a device computes: the host's side of a GPU
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from xmem.benchmark.clips import looped_clip, scaled_clip, stand_in
from xmem.benchmark.free import free_network, host_alone, recorded
from xmem.checkpoints import load_model
from xmem.device import select_device, synchronise
from xmem.engine.segment import segment_video
from xmem.networks import Network
from xmem.session import Session, TrackSettings
from xmem.video import first_frame
from xmem.video.isolated import is_isolated, isolate

WARM_UP = 20  # frames


@dataclass(frozen=True)
class PagePath:
    """Of the frames behind the first WARM_UP ones. fps: by the clock, with all that was given written; processor_ms: of
    all threads of this process, per frame; kilobytes: of a frame's file of probabilities, 0 where there are none."""

    fps: float
    processor_ms: float
    kilobytes: float = 0.0


def measure_page(
    clip: Path, folder: Path, objects: int, model: Network | None, device: str, alone: bool = False
) -> PagePath:
    """Track stand-in objects through `clip` in a new session in `folder`. model: None for one that costs nothing.
    alone: without what a device computes, and the video read by another process, as on the page."""

    def run(network: Network, size: int) -> Iterable[object]:
        return session.propagate(TrackSettings(size=size), network)

    before = is_isolated()
    isolate(before or alone)
    try:
        session = Session.create(clip, folder)
        height, width = first_frame(clip).shape[:2]
        session.set_key_frame(0, stand_in(width, height, objects))
        fps, busy = _timed(run, clip, objects, model, device, alone)
    finally:
        isolate(before)
    sizes = [path.stat().st_size for path in (session.folder / "spans").glob("*/probabilities/*")]
    return PagePath(fps, busy, sum(sizes) / len(sizes) / 1e3)


def measure_file(
    clip: Path, folder: Path, objects: int, model: Network | None, device: str, alone: bool = False
) -> PagePath:
    """The same from the file to an overlay video and mask files in `folder`, read in this process."""

    def run(network: Network, size: int) -> Iterable[object]:
        height, width = first_frame(clip).shape[:2]
        return segment_video(clip, {0: stand_in(width, height, objects)}, folder, model=network, size=size)

    return PagePath(*_timed(run, clip, objects, model, device, alone))


def _timed(
    run: Callable[[Network, int], Iterable[object]],
    clip: Path,
    objects: int,
    model: Network | None,
    device: str,
    alone: bool,
) -> tuple[float, float]:
    """Frames per second, and milliseconds of this process's processor time per frame."""
    place = select_device(device)
    shape = first_frame(clip).shape[:2]
    with _network(clip, objects, model, device, alone) as network:
        began, busy, count = 0.0, 0.0, 0
        for count, _ in enumerate(run(network, min(shape)), start=1):
            if count == WARM_UP:
                synchronise(place)
                began, busy = time.perf_counter(), time.process_time()
        seconds, busy = time.perf_counter() - began, time.process_time() - busy
    timed = count - WARM_UP
    return timed / seconds, 1e3 * busy / timed


@contextmanager
def _network(
    clip: Path, objects: int, model: Network | None, device: str, alone: bool
) -> Generator[Network, None, None]:
    if model is not None:
        yield model
    elif alone:
        with host_alone(recorded(clip, objects), first_frame(clip).shape[:2]) as network:
            yield network
    else:
        with free_network(recorded(clip, objects).to(select_device(device))) as network:
            yield network


def main(words: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the way of a run on the page, and from file to file.")
    parser.add_argument("--frames", type=int, default=300, help="of the clip (default: %(default)s)")
    parser.add_argument("--size", type=int, default=480, help="shorter side in pixels (default: %(default)s)")
    parser.add_argument("--objects", type=int, default=1, help="that are followed (default: %(default)s)")
    parser.add_argument("--model", help="a checkpoint in place of the network that costs nothing")
    parser.add_argument("--device", default="auto", help="where to run (default: %(default)s)")
    parser.add_argument("--host-alone", action="store_true", help="leave out what a device computes")
    parser.add_argument("--rounds", type=int, default=1, help="of both ways, by turns (default: %(default)s)")
    parser.add_argument("--folder", help="where results are written, and stay (default: one that is removed)")
    args = parser.parse_args(words)
    if args.model and args.host_alone:
        parser.error("--host-alone goes without --model: a real network is what a device computes.")
    with tempfile.TemporaryDirectory() as name:
        clip = looped_clip(Path(name) / "clip.mp4", scaled_clip(Path(name) / "scaled.mp4", args.size), args.frames)
        model = load_model(args.model, args.device, "auto") if args.model else None
        for number in range(args.rounds):
            for title, measure in (("page", measure_page), ("file to file", measure_file)):
                folder = Path(args.folder or name) / f"{title} {number}"
                found = measure(clip, folder, args.objects, model, args.device, args.host_alone)
                print(title, asdict(found), flush=True)


if __name__ == "__main__":
    main()
