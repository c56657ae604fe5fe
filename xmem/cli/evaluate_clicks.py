"""`evaluate-clicks`: the click network is scored on objects that it was never trained on."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from xmem.checkpoints.catalogue import CLICK
from xmem.click import Clicker
from xmem.device import DEVICES
from xmem.scoring.clicks import MOST_CLICKS, ClickScores, click_through, grabcut_answer, network_answer
from xmem.scoring.evaluation import find_sequences
from xmem.training import yardstick
from xmem.training.clicks import held_back
from xmem.training.footage import read_frames

HELP = "score the click network on held-back objects"
DESCRIPTION = (
    "Score clicks: median IoU after 1 and 3, and the mean number of clicks until IoU 0.85 and 0.90, where each next "
    "click is at the deepest place of the largest error."
)
SMALLEST = 0.002  # of an image: smaller objects are left out
FRAME_STEP = 10  # of a clip, every such frame


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--stills", type=Path, nargs="*", default=[], metavar="ROOT", help="sets of stills, of which some are held back"
    )
    add("--data", type=Path, metavar="ROOT", help="the DAVIS 2016 training split: frames of its held-back clips")
    add("--every", type=int, default=1, metavar="N", help="only every Nth object (default: all)")
    add("--most", type=int, default=MOST_CLICKS, help="clicks at most (default: %(default)s)")
    add("--grabcut", action="store_true", help="score GrabCut, from dots where the clicks are, instead of the network")
    add("--model", metavar="NAME|PATH", default=CLICK, help="click network (default: %(default)s)")
    add("--device", choices=DEVICES, default="auto", help="where to run (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """`evaluate-clicks`: a line of figures for each set."""
    clicker = None if args.grabcut else Clicker(args.model, args.device)
    print(f"{'set':<20} {'objects':>7} {'IoU@1':>6} {'IoU@3':>6} {'NoC@85':>7} {'NoC@90':>7}  not to 0.85, 0.90")
    sets = [(root.name, _objects(held_back(root))) for root in args.stills]
    if args.data is not None:
        sets.append(("held-back clips", _objects(_frames(args.data))))
    for name, objects in sets:
        chosen = list(objects)[:: args.every]
        ious = []
        for image, truth in tqdm(chosen, desc=name, mininterval=5.0):
            answer = grabcut_answer(image) if clicker is None else network_answer(clicker, image)
            ious.append(click_through(truth, answer, args.most))
        scores = ClickScores(np.stack(ious))
        print(
            f"{name:<20} {len(ious):7} {scores.median(1):6.3f} {scores.median(min(3, args.most)):6.3f} "
            f"{scores.needed(0.85):7.2f} {scores.needed(0.90):7.2f}  {scores.failed(0.85)}, {scores.failed(0.90)}",
            flush=True,
        )
    return 0


def _objects(pairs: Iterator[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for image, label in pairs:
        for value in np.unique(label[label > 0]):
            if (label == value).mean() >= SMALLEST:
                yield image, label == value


def _frames(root: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for sequence in find_sequences(root, yardstick.selecting()):
        yield from list(read_frames(sequence))[::FRAME_STEP]
