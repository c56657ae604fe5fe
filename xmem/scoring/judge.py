"""Whether the frames that `suggest` lists are the bad ones: `python -m xmem.scoring.judge DAVIS --sequences bear`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xmem.checkpoints import load_model
from xmem.engine.masks import index_mask
from xmem.engine.propagator import Propagator
from xmem.errors import InputError
from xmem.networks import Network
from xmem.scoring.evaluation import LabelledSequence, find_sequences, labelled_frames
from xmem.scoring.metrics import region_similarity
from xmem.session.stats import ObjectStats, measure
from xmem.session.suggestions import frame_scores, suggest
from xmem.video import FrameReader

_WORST = 0.2  # part of a clip's frames that count as bad for the AUC


@dataclass(frozen=True)
class Judgement:
    """How well a clip's suggestions point at its errors, from the first mask on; J of a frame: mean over its objects.

    listed: frames suggested. listed_j, other_j: mean J of those and of the others (nan without any). auc: chance that
    the score puts a frame of the worst fifth before another one, 0.5 = by lot. correlation: Spearman's, of score and
    error 1 - J.
    """

    name: str
    listed: tuple[int, ...]
    listed_j: float
    other_j: float
    auc: float
    correlation: float


def judge(name: str, stats: Sequence[ObjectStats], j: dict[int, float], given: int, count: int = 8) -> Judgement:
    """stats: rows of a clip; j: frame -> J of the frames with a known mask; given: the frame whose mask was given."""
    frames = [frame for frame in sorted(j) if frame != given]
    listed = tuple(s.frame for s in suggest(stats, [], [given], count) if s.frame in frames)
    others = [frame for frame in frames if frame not in listed]
    scores = frame_scores(stats, [], [given])
    doubt = np.array([scores[frame] for frame in frames])
    error = np.array([1 - j[frame] for frame in frames])
    return Judgement(name, listed, _mean(j, listed), _mean(j, others), _auc(doubt, error), _correlation(doubt, error))


def run(
    sequence: LabelledSequence, model: Network, size: int | None
) -> tuple[list[ObjectStats], dict[int, float], int]:
    """Track a sequence from its first mask: rows of measures, frame -> J, and the frame of that mask.

    Raises InputError where no mask has an object.
    """
    engine, rows, j, previous, given = Propagator(model, size=size), [], {}, None, None
    with FrameReader(sequence.images) as reader:
        items = labelled_frames(sequence, reader)
        for (frame, truth), prob in engine.run(items, lambda item: {} if engine.objects else {"mask": item.truth}):
            given = frame.index if given is None else given
            index = index_mask(prob, engine.objects)
            rows += measure(frame.index, index, prob[1:].float().cpu().numpy(), engine.objects, previous)
            previous = index
            if truth is not None:
                j[frame.index] = float(np.mean([region_similarity(index == i, truth == i) for i in engine.objects]))
    if given is None:
        raise InputError(f"The sequence '{sequence.name}' has no mask with an object: there is nothing to follow.")
    return rows, j, given


def _mean(j: dict[int, float], frames: Sequence[int]) -> float:
    return float(np.mean([j[frame] for frame in frames])) if frames else float("nan")


def _auc(doubt: np.ndarray, error: np.ndarray) -> float:
    """Pairs of a bad and another frame in the right order; ties count half."""
    bad = error >= np.quantile(error, 1 - _WORST)
    if bad.all():
        return 0.5
    difference = doubt[bad][:, None] - doubt[~bad]
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def _correlation(doubt: np.ndarray, error: np.ndarray) -> float:
    """Spearman's; 0 where one of them is the same everywhere."""
    ranks = [np.searchsorted(np.sort(x), x) + np.searchsorted(np.sort(x), x, side="right") for x in (doubt, error)]
    return float(np.corrcoef(ranks)[0, 1]) if all(np.ptp(rank) for rank in ranks) else 0.0


def _table(judgements: Sequence[Judgement]) -> Iterator[str]:
    yield f"{'sequence':20}{'listed':>8}{'J listed':>10}{'J others':>10}{'AUC':>8}{'Spearman':>10}"
    means = np.nanmean([[r.listed_j, r.other_j, r.auc, r.correlation] for r in judgements], axis=0)
    rows = [(r.name, len(r.listed), r.listed_j, r.other_j, r.auc, r.correlation) for r in judgements]
    for name, listed, *values in [*rows, ("mean", sum(row[1] for row in rows), *means)]:
        yield f"{name:20}{listed:8}{values[0]:10.3f}{values[1]:10.3f}{values[2]:8.2f}{values[3]:10.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the network over the sequences of a folder and print the table."""
    parser = argparse.ArgumentParser(prog="python -m xmem.scoring.judge", description=__doc__)
    parser.add_argument("root", type=Path, help="folder with frames/ and masks/, or DAVIS")
    parser.add_argument("--sequences", nargs="+", metavar="NAME", help="those to run (default: all)")
    parser.add_argument("--model", default="xmem-lite")
    parser.add_argument("--size", type=int, default=384, help="shorter side in pixels for inference")
    parser.add_argument("--count", type=int, default=8, help="suggestions per sequence at most")
    options = parser.parse_args(arguments)
    try:
        model = load_model(options.model, precision="auto")
        sequences = find_sequences(options.root, options.sequences)
        judgements = [judge(s.name, *run(s, model, options.size), options.count) for s in sequences]
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(_table(judgements)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
