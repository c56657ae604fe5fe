"""What corrections cost and bring: `python -m xmem.scoring.corrections DAVIS --sequences bear`.

Each sequence is tracked from its first mask. Then, each for itself, the worst frame of its first half and of its second
half is given its true mask, and the correction is carried on.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xmem.checkpoints import load_model
from xmem.errors import InputError
from xmem.networks import Network
from xmem.scoring.evaluation import LabelledSequence, find_sequences, labelled_frames
from xmem.scoring.metrics import boundary_accuracy, region_similarity
from xmem.session import Session, TrackSettings
from xmem.session.settings import SCOPES
from xmem.video import FrameReader

Masks = dict[int, np.ndarray]  # frame -> index mask uint8 [H, W]


@dataclass(frozen=True)
class Correction:
    """One correction, carried on in one scope. frame: the corrected one; steps: frames that the network ran on; cost:
    processor seconds, of those of the first run; before, after: mean J&F of the other frames, 0 to 1."""

    name: str
    frame: int
    scope: str
    steps: int
    cost: float
    before: float
    after: float


def correct(
    sequence: LabelledSequence, model: Network, settings: TrackSettings, scopes: Sequence[str]
) -> Iterator[Correction]:
    """Track a sequence, and carry two corrections on in each of the scopes. Raises InputError where it has no masks."""
    with tempfile.TemporaryDirectory() as folder, FrameReader(sequence.images) as reader:
        truth = {frame.index: mask for frame, mask in labelled_frames(sequence, reader) if mask is not None}
        given = next((frame for frame, mask in truth.items() if mask.any()), None)
        if given is None:
            raise InputError(f"The sequence '{sequence.name}' has no mask with an object: there is nothing to follow.")
        session = Session.create(sequence.images, Path(folder) / "first")
        session.set_key_frame(given, truth[given])
        _, seconds = _timed(session, settings, model, "neighbours")
        others = [frame for frame in truth if frame != given]
        for half in np.array_split(np.array(others), 2):
            worst = min((int(frame) for frame in half), key=lambda frame: _quality(session, frame, truth[frame])[0])
            judged = [frame for frame in others if frame != worst]
            before = _mean(session, judged, truth)
            for scope in scopes:
                copy = Path(folder) / scope
                shutil.copytree(session.folder, copy)
                corrected = Session.open(copy)
                corrected.set_key_frame(worst, truth[worst])
                steps, taken = _timed(corrected, settings, model, scope)
                after = _mean(corrected, judged, truth)
                shutil.rmtree(copy)
                yield Correction(sequence.name, worst, scope, steps, taken / seconds, before, after)


def _timed(session: Session, settings: TrackSettings, model: Network, scope: str) -> tuple[int, float]:
    """Frames that the network ran on, and processor seconds, which other work on the machine hardly changes."""
    begun = time.process_time()
    steps = sum(1 for _ in session.propagate(settings, model, scope=scope))
    return steps, time.process_time() - begun


def _mean(session: Session, frames: Sequence[int], truth: Masks) -> float:
    return float(np.mean([sum(_quality(session, frame, truth[frame])) / 2 for frame in frames]))


def _quality(session: Session, frame: int, truth: np.ndarray) -> tuple[float, float]:
    """J and F, means over the objects."""
    mask = session.mask(frame)
    pairs = [(mask == item.id, truth == item.id) for item in session.objects]
    j, f = (np.mean([measure(*pair) for pair in pairs]) for measure in (region_similarity, boundary_accuracy))
    return float(j), float(f)


def _row(c: Correction) -> str:
    figures = f"{c.steps:6}{c.cost:8.2f}{100 * c.before:12.1f}{100 * c.after:8.1f}"
    return f"{c.name:16}{c.frame:6}  {c.scope:12}{figures}"


def _means(found: Sequence[Correction]) -> Iterator[str]:
    for scope in dict.fromkeys(c.scope for c in found):
        own = [c for c in found if c.scope == scope]
        cost = np.median([c.cost for c in own])
        before, after = (100 * np.mean([getattr(c, when) for c in own]) for when in ("before", "after"))
        yield f"{scope}: cost {cost:.2f} (median), J&F {before:.1f} before and {after:.1f} after (means)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Correct sequences of a folder and print the table."""
    parser = argparse.ArgumentParser(prog="python -m xmem.scoring.corrections", description=__doc__)
    parser.add_argument("root", type=Path, help="folder with frames/ and masks/, or DAVIS")
    parser.add_argument("--sequences", nargs="+", metavar="NAME", help="those to run (default: all)")
    parser.add_argument("--model", default="xmem-lite")
    parser.add_argument("--size", type=int, default=384, help="shorter side in pixels for inference")
    parser.add_argument("--scopes", nargs="+", choices=SCOPES, default=["around", "neighbours"], help="how far to go")
    options = parser.parse_args(arguments)
    found: list[Correction] = []
    try:
        model, settings = load_model(options.model), TrackSettings(options.model, size=options.size)
        print(f"{'sequence':16}{'frame':>6}  {'scope':12}{'steps':>6}{'cost':>8}{'J&F before':>12}{'after':>8}")
        for sequence in find_sequences(options.root, options.sequences):
            for correction in correct(sequence, model, settings, options.scopes):
                found.append(correction)
                print(_row(correction), flush=True)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(_means(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
