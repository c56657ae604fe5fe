"""Learn how much each piece of evidence counts for a frame's doubt: `python -m xmem.scoring.doubt ROOT --size 240`.

A logistic regression on tracked sequences, which must be those of the training: what it gives is copied into
`xmem.session.suggestions.WEIGHTS`, and `python -m xmem.scoring.judge` tells what that is worth on others.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xmem.checkpoints import load_model
from xmem.errors import InputError
from xmem.scoring.evaluation import find_sequences
from xmem.scoring.judge import is_bad, run
from xmem.session.suggestions import WEIGHTS, unusual

_STEPS, _RATE, _SHRINK = 400, 2.0, 0.01
_LEAST_BAD = 2  # frames of a clip that says something
_FULL_WEIGHT = 4  # bad frames from which a clip counts as much as any other


def learn(clips: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Weights by name, none of them negative: evidence never speaks for a mask.

    clips: of each, how unusual its frames are, float [N, len(WEIGHTS)] in that order, and J, float [N]. Clips with next
    to no bad frame are passed over; the others count alike, and in each the bad frames as much as the others.
    """
    chosen = [(values, is_bad(j)) for values, j in clips if is_bad(j).sum() >= _LEAST_BAD]
    if not chosen:
        raise InputError("No clip has bad frames to learn from: take a smaller size, or more sequences.")
    x = np.concatenate([values for values, _ in chosen])
    y = np.concatenate([bad for _, bad in chosen]).astype(float)
    share = [np.where(b, 0.5 / b.sum(), 0.5 / (~b).sum()) * min(1, b.sum() / _FULL_WEIGHT) for _, b in chosen]
    weight = np.concatenate(share) / np.sum(np.concatenate(share))
    spread = x.std(axis=0) + 1e-9
    x, slopes, level = (x - x.mean(axis=0)) / spread, np.zeros(x.shape[1]), 0.0
    for _ in range(_STEPS):
        excess = weight * (1 / (1 + np.exp(-(x @ slopes + level))) - y)
        level -= _RATE * excess.sum()
        slopes = np.maximum(slopes - _RATE * (x.T @ excess + _SHRINK * slopes), 0)
    return dict(zip(WEIGHTS, (slopes / spread).tolist(), strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Track the sequences and print the weights."""
    parser = argparse.ArgumentParser(prog="python -m xmem.scoring.doubt", description=__doc__.splitlines()[0])
    parser.add_argument("roots", type=Path, nargs="+", help="folders with frames/ and masks/, or DAVIS")
    parser.add_argument("--sequences", nargs="+", metavar="NAME", help="those to run (default: all)")
    parser.add_argument("--model", default="xmem-lite")
    parser.add_argument("--sizes", type=int, nargs="+", default=[240, 160], help="shorter sides for inference, pixels")
    options = parser.parse_args(arguments)
    try:
        model = load_model(options.model, precision="auto")
        clips = []
        for root in options.roots:
            for sequence in find_sequences(root, options.sequences):
                for size in options.sizes:
                    rows, j, given = run(sequence, model, size)
                    frames = [frame for frame in sorted(j) if frame != given]
                    for i in {row.object for row in rows}:
                        values = unusual([row for row in rows if row.object == i and row.frame in frames])
                        clips.append((values, np.array([j[frame] for frame in frames])))
        for name, weight in learn(clips).items():
            print(f"{name:12}{weight:8.2f}")
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
