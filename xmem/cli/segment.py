"""`segment`: given objects are followed through a video."""

from __future__ import annotations

import argparse
import re
import signal
import sys
import time
from collections.abc import Generator
from pathlib import Path

from xmem.cli.common import add_engine, load, memory_config, progress_bar
from xmem.engine.segment import MASKS_NAME, OVERLAY_NAME, FrameResult, segment_video
from xmem.errors import InputError
from xmem.render.masks import GivenMask, read_mask
from xmem.video import VideoInfo, probe

HELP = "track given objects through a video"
DESCRIPTION = "Track the objects of a mask through a video: writes DIR/overlay.mp4 and DIR/masks/*.png."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="INPUT", help="a video file, or a folder of images")
    parser.add_argument(
        "--mask",
        metavar="[FRAME:]MASK.png",
        action="append",
        required=True,
        help="index, grey, RGB or RGBA image of the objects on frame FRAME (counted from 0, and 0 if left out); "
        "may be given for several frames",
    )
    parser.add_argument("--output", metavar="DIR", required=True, help="folder for the results")
    parser.add_argument("--force", action="store_true", help="replace the results of an earlier run in DIR")
    add_engine(parser)


def run(args: argparse.Namespace) -> int:
    """`segment`: masks and an overlay video of the objects that the given masks show."""
    output = Path(args.output)
    info = probe(args.input)
    given = _given_masks(args.mask, info)
    old = _old_results(output, Path(args.input), args.force)
    model = load(args)
    config = memory_config(args, model)
    for path in old:
        path.unlink()
    results = segment_video(
        args.input,
        {frame: mask.index for frame, mask in given.items()},
        output,
        model=model,
        config=config,
        size=args.size,
    )
    began = time.perf_counter()
    done, stopped_by = _follow(results, info.frame_count)
    seconds = time.perf_counter() - began
    print(f"{done} frames in {seconds:.1f} s ({done / seconds:.2f} frames/s)")
    print(f"{output / OVERLAY_NAME}\n{output / MASKS_NAME}: {done} masks")
    if stopped_by is None:
        return int(any(frame >= done for frame in given))  # a mask for no frame, of which the log has told
    where = f"after {done} of {info.frame_count or 'an unknown number of'} frames"
    print(f"xmem: stopped by {signal.Signals(stopped_by).name} {where}; what is done is kept", file=sys.stderr)
    return 128 + stopped_by


def _follow(results: Generator[FrameResult, None, None], total: int | None) -> tuple[int, int | None]:
    """Run to the end, or to the frame at which a signal comes; return frames done and that signal's number."""
    done = 0
    with StopSignals() as stop, progress_bar("segmenting", total) as bar:
        try:
            for _ in results:
                done += 1
                bar.update()
                if stop.received:
                    break
        finally:
            results.close()
    return done, stop.received


class StopSignals:
    """Ctrl-C and SIGTERM as a note to stop after the present frame, so that files are left whole.

    received: the signal's number, None before. A second signal interrupts at once.
    """

    def __enter__(self) -> StopSignals:
        self.received: int | None = None
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: object) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number


def _given_masks(texts: list[str], info: VideoInfo) -> dict[int, GivenMask]:
    """Frame -> mask, of arguments "MASK.png" and "FRAME:MASK.png"; says what was found in each."""
    given: dict[int, GivenMask] = {}
    frames = info.exact_frame_count
    for text in texts:
        numbered = None if Path(text).exists() else re.fullmatch(r"(\d+):(.+)", text)
        frame, path = (int(numbered[1]), numbered[2]) if numbered else (0, text)
        if frame in given:
            raise InputError(f"Two masks are given for frame {frame}: leave one out, or write --mask FRAME:MASK.png.")
        if frames is not None and frame >= frames:
            raise InputError(f"There is no frame {frame} for {path}: the video's frames are 0 to {frames - 1}.")
        mask = given[frame] = read_mask(path, info.width, info.height)
        count, ids = len(mask.objects), ", ".join(map(str, mask.objects))
        note = f"; {mask.note}" if mask.note else ""
        print(f"{path}: {count} object{'s' if count > 1 else ''} on frame {frame} (id {ids}){note}", flush=True)
    return dict(sorted(given.items()))


def _old_results(output: Path, source: Path, force: bool) -> list[Path]:
    """Files of an earlier run that would mix with this one's.

    Raises InputError where there are some and they may not be replaced, or where the input is among them.
    """
    overlay, masks = output / OVERLAY_NAME, output / MASKS_NAME
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file: choose a folder for --output.")
    if source.resolve() in (overlay.resolve(), masks.resolve()):
        raise InputError(f"The results would replace the input {source}: choose another --output.")
    old = [path for path in (overlay, *sorted(masks.glob("*.png"))) if path.exists()]
    if old and not force:
        raise InputError(
            f"{output} holds the results of an earlier run: choose another --output, or replace them by --force."
        )
    return old
