"""`clips`: a folder of clips is followed, by this process or by workers of Ray."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from xmem import checkpoints
from xmem.cli.common import add_engine, add_workers, memory_config, progress_bar
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
    add_workers(parser)
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
                bar.set_description(f"{frames} frames", refresh=False)
                bar.update(0)
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
