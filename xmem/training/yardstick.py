"""What a network is judged by: clips that training never sees, as data.

One part selects checkpoints during a run and is favourable by that much; the others are only reported.
"""

from dataclasses import dataclass
from pathlib import Path

from xmem.networks import Network
from xmem.scoring.evaluation import evaluate

SIZES = (240, 384, 480)  # shorter sides at which a network must agree, pixels


@dataclass(frozen=True)
class Part:
    """Sequences of one data set, in a folder of the data's root.

    selects: whether checkpoints are chosen by it. unseen: whether the first version's weights were not trained on it.
    """

    name: str
    folder: str
    sequences: tuple[str, ...]
    selects: bool
    unseen: bool


YARDSTICK = (
    # others like it beside it; scale; fast and deforming; fast, small and blurred; scale and traffic
    Part(
        "first five",
        "davis2016-train",
        ("flamingo", "car-turn", "dance-jump", "mallard-fly", "scooter-gray"),
        selects=True,
        unseen=True,
    ),
    # fast and small: soccerball (behind trunks), bmx-bumps, tennis; turning cameras: motorbike, bus (behind trees);
    # alike things: train; spray: surf; thin parts: kite-walk, paragliding
    Part(
        "further nine",
        "davis2016-train",
        ("soccerball", "bmx-bumps", "tennis", "motorbike", "bus", "train", "surf", "kite-walk", "paragliding"),
        selects=False,
        unseen=False,
    ),
    Part("several objects", "multi-object", ("schoolgirls",), selects=False, unseen=True),
    Part("small object", "chair", ("chair",), selects=False, unseen=True),
)


def held_back() -> tuple[str, ...]:
    """Names of all sequences that must not be trained on."""
    return tuple(name for part in YARDSTICK for name in part.sequences)


def selecting() -> tuple[str, ...]:
    """Names of the sequences that choose checkpoints; all are of DAVIS 2016's training split."""
    return tuple(name for part in YARDSTICK if part.selects for name in part.sequences)


def score(model: Network, root: Path, size: int) -> dict[str, dict[str, float]]:
    """J&F, J and F of each part and J&F of each of its sequences, in percent: a mean over objects, as DAVIS counts.

    root: the folder that holds the parts' folders. size: shorter side at which the network runs, pixels.
    """
    scores = {}
    for part in YARDSTICK:
        result = evaluate(root / part.folder, model, size=size, sequences=part.sequences)
        figures = {"J&F": result.jf, "J": result.j, "F": result.f} | {s.name: s.jf for s in result.sequences}
        scores[part.name] = {name: round(100 * value, 1) for name, value in figures.items()}
    return scores
