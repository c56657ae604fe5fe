"""The way of a run on the page: from a video to a session's results, with a network that costs nothing or a real one.

python -m xmem.benchmark.page --frames 300 --objects 1    # frames per second, and processor time of a frame
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from xmem.benchmark.clips import looped_clip, scaled_clip, stand_in
from xmem.benchmark.free import free_network
from xmem.checkpoints import load_model
from xmem.device import select_device, synchronise
from xmem.networks import Network
from xmem.session import Session, TrackSettings
from xmem.video import first_frame

WARM_UP = 20  # frames


@dataclass(frozen=True)
class PagePath:
    """Of the frames behind the first WARM_UP ones. fps: by the clock, with all that was given written; processor_ms:
    of all threads, per frame; kilobytes: of a frame's file of probabilities."""

    fps: float
    processor_ms: float
    kilobytes: float


def measure_page(clip: Path, folder: Path, objects: int, model: Network | None, device: str) -> PagePath:
    """Track stand-in objects through `clip` in a new session in `folder`. model: None for one that costs nothing."""
    image = first_frame(clip)
    height, width = image.shape[:2]
    session = Session.create(clip, folder)
    session.set_key_frame(0, stand_in(width, height, objects))
    place = select_device(device)
    network: AbstractContextManager[Network] = (
        nullcontext(model) if model else free_network(*(height, width), objects, place)
    )
    with network as found:
        began, busy, count = 0.0, 0.0, 0
        for count, _ in enumerate(session.propagate(TrackSettings(size=min(height, width)), found), start=1):
            if count == WARM_UP:
                synchronise(place)
                began, busy = time.perf_counter(), time.process_time()
        seconds, busy = time.perf_counter() - began, time.process_time() - busy
    sizes = [path.stat().st_size for path in (session.folder / "spans").glob("*/probabilities/*")]
    timed = count - WARM_UP
    return PagePath(timed / seconds, 1e3 * busy / timed, sum(sizes) / len(sizes) / 1e3)


def main(words: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the way of a run on the page.")
    parser.add_argument("--frames", type=int, default=300, help="of the clip (default: %(default)s)")
    parser.add_argument("--size", type=int, default=480, help="shorter side in pixels (default: %(default)s)")
    parser.add_argument("--objects", type=int, default=1, help="that are followed (default: %(default)s)")
    parser.add_argument("--model", help="a checkpoint in place of the network that costs nothing")
    parser.add_argument("--device", default="auto", help="where to run (default: %(default)s)")
    args = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as name:
        clip = looped_clip(Path(name) / "clip.mp4", scaled_clip(Path(name) / "scaled.mp4", args.size), args.frames)
        model = load_model(args.model, args.device, "auto") if args.model else None
        print(asdict(measure_page(clip, Path(name) / "session", args.objects, model, args.device)))


if __name__ == "__main__":
    main()
