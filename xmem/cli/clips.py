"""`clips`: a folder of clips is followed, by this process or by workers of Ray."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from xmem import checkpoints
from xmem.cli.common import add_engine, memory_config, progress_bar
from xmem.scale.clips import Clip, ClipProgress, by_workers, clips_in, one_by_one
from xmem.scale.pool import Pool
from xmem.session import TrackSettings

HELP = "track objects through a folder of clips"
DESCRIPTION = (
    "Track the objects of each clip's first mask (walk.mp4 with walk.png) through a folder of clips: writes "
    "DIR/walk/walk-masks.zip of index masks for each. What an earlier run did is kept, and gone on with."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="clips, and a mask beside each")
    parser.add_argument("--output", metavar="DIR", required=True, help="folder for the results; workers share it")
    parser.add_argument(
        "--workers",
        metavar="N|ray",
        type=_workers,
        default=1,
        help="1: this process; more: so many workers of Ray (extra 'ray'), 'ray': as many as there is room for; of the "
        "cluster that RAY_ADDRESS names, else of this machine (default: %(default)s)",
    )
    parser.add_argument(
        "--cores", type=int, default=1, metavar="N", help="of each worker of Ray; a GPU is added where there are any"
    )
    add_engine(parser)


def run(args: argparse.Namespace) -> int:
    """`clips`: masks of every clip in a folder."""
    clips = clips_in(Path(args.folder), Path(args.output))
    model = checkpoints.load_model(args.model, "cpu")  # it may be others that have a GPU
    memory = memory_config(args, model)
    settings = TrackSettings(args.model, args.device, args.size, memory, "forward", precision=args.precision)
    frames = 0
    with _steps(clips, settings, args) as steps, progress_bar("0 frames", len(clips), " clips") as bar:
        for step in steps:
            if step.file:
                bar.update()
                bar.write(str(step.file))
            else:
                frames += 1
                bar.set_description(f"{frames} frames")
    return 0


@contextmanager
def _steps(clips: list[Clip], settings: TrackSettings, args: argparse.Namespace) -> Iterator[Iterator[ClipProgress]]:
    if args.workers == 1:
        with closing(one_by_one(clips, settings)) as steps:
            yield steps
    else:
        with (
            Pool(args.workers, args.cores, args.device != "cpu") as pool,
            closing(by_workers(clips, settings, pool)) as steps,
        ):
            yield steps


def _workers(text: str) -> int | None:
    if text == "ray":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of at least 1, nor 'ray'")
    return int(text)
