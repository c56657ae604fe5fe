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
from xmem.session.evidence import View, Witness
from xmem.session.stats import ObjectStats, Shape, measure, shapes_of
from xmem.session.suggestions import frame_scores, suggest
from xmem.video import FrameReader

BELOW = 0.1  # how far J is below the clip's median on a frame that counts as bad
NEAR = 10  # frames within which a listed frame leads to a bad one


@dataclass(frozen=True)
class Judgement:
    """How well a clip's suggestions point at its errors, from the first mask on; J of a frame: mean over its objects.

    listed: frames suggested. listed_j, other_j: mean J of those and of the others (nan without any). scores, bad: of
    each frame. correlation: Spearman's, of score and error 1 - J. covered: share of the bad frames that have a listed
    one within `NEAR` frames (nan without bad ones).
    """

    name: str
    listed: tuple[int, ...]
    listed_j: float
    other_j: float
    scores: np.ndarray
    bad: np.ndarray
    correlation: float
    covered: float

    @property
    def auc(self) -> float:
        """Chance that the score puts a bad frame before another one, 0.5 = by lot; nan without bad frames."""
        return auc(self.scores, self.bad)


def judge(name: str, stats: Sequence[ObjectStats], j: dict[int, float], given: int, count: int = 8) -> Judgement:
    """stats: rows of a clip; j: frame -> J of the frames with a known mask; given: the frame whose mask was given."""
    frames = [frame for frame in sorted(j) if frame != given]
    listed = tuple(s.frame for s in suggest(stats, [], [given], count) if s.frame in frames)
    others = [frame for frame in frames if frame not in listed]
    scores = frame_scores(stats, [], [given])
    doubt = np.array([scores[frame] for frame in frames])
    error = np.array([1 - j[frame] for frame in frames])
    bad = is_bad(1 - error)
    covered = [any(abs(frame - other) <= NEAR for other in listed) for frame in np.array(frames)[bad]]
    return Judgement(
        name,
        listed,
        _mean(j, listed),
        _mean(j, others),
        doubt,
        bad,
        _correlation(doubt, error),
        float(np.mean(covered)) if covered else float("nan"),
    )


def is_bad(j: np.ndarray) -> np.ndarray:
    """[N] J of a clip's frames -> bool [N]: by `BELOW` under their median."""
    return j < np.median(j) - BELOW


def run(
    sequence: LabelledSequence, model: Network, size: int | None
) -> tuple[list[ObjectStats], dict[int, float], int]:
    """Track a sequence from its first mask: rows of measures, frame -> J, and the frame of that mask. size: shorter
    side for inference in pixels.

    Raises InputError where no mask has an object.
    """
    engine, rows, j, given = Propagator(model, size=size), [], {}, None
    witness = Witness([])
    before: View | None = None
    previous: list[Shape] | None = None
    with FrameReader(sequence.images) as reader:
        items = labelled_frames(sequence, reader)
        for (frame, truth), prob in engine.run(items, lambda item: {} if engine.objects else {"mask": item.truth}):
            index = index_mask(prob, engine.objects)
            if given is None:
                assert truth is not None  # with which the first frame comes
                given, witness = frame.index, Witness(engine.objects)
                witness.painted(frame.index, frame.image, truth)
            view = View(frame.image, index)
            told = witness.look(view, before)
            shapes = shapes_of(index, engine.objects)
            rows += measure(frame.index, shapes, prob[1:].float().cpu().numpy(), engine.objects, previous, told)
            before, previous = view, shapes
            if truth is not None:
                j[frame.index] = float(np.mean([region_similarity(index == i, truth == i) for i in engine.objects]))
    if given is None:
        raise InputError(f"The sequence '{sequence.name}' has no mask with an object: there is nothing to follow.")
    return rows, j, given


def _mean(j: dict[int, float], frames: Sequence[int]) -> float:
    return float(np.mean([j[frame] for frame in frames])) if frames else float("nan")


def auc(doubt: np.ndarray, bad: np.ndarray) -> float:
    """Pairs of a bad and another frame in the right order, ties count half; nan where there is no such pair."""
    if bad.all() or not bad.any():
        return float("nan")
    difference = doubt[bad][:, None] - doubt[~bad]
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def _correlation(doubt: np.ndarray, error: np.ndarray) -> float:
    """Spearman's; 0 where one of them is the same everywhere."""
    ranks = [np.searchsorted(np.sort(x), x) + np.searchsorted(np.sort(x), x, side="right") for x in (doubt, error)]
    return float(np.corrcoef(ranks)[0, 1]) if all(np.ptp(rank) for rank in ranks) else 0.0


def _table(judgements: Sequence[Judgement]) -> Iterator[str]:
    yield f"{'sequence':20}{'bad':>6}{'listed':>8}{'J listed':>10}{'J others':>10}" + (
        f"{'AUC':>8}{'Spearman':>10}{'covered':>9}"
    )
    figures = np.array([[r.listed_j, r.other_j, r.auc, r.correlation, r.covered] for r in judgements])
    counts = [(int(r.bad.sum()), len(r.listed)) for r in judgements]
    means = [float(np.mean(column[~np.isnan(column)])) if (~np.isnan(column)).any() else np.nan for column in figures.T]
    lines = [(r.name, *count, *row) for r, count, row in zip(judgements, counts, figures, strict=True)]
    for name, bad, listed, j, other, area, rank, covered in [*lines, ("mean", *np.sum(counts, axis=0), *means)]:
        yield f"{name:20}{bad:6}{listed:8}{j:10.3f}{other:10.3f}{area:8.2f}{rank:10.2f}{covered:9.2f}"
    pooled = auc(np.concatenate([r.scores for r in judgements]), np.concatenate([r.bad for r in judgements]))
    yield f"AUC of all frames together: {pooled:.2f}"


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
