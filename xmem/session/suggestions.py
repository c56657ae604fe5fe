"""Which frames are most worth checking by eye, and why."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xmem.render.palette import name_of
from xmem.session.stats import ObjectStats

# Weights of what speaks against a frame, beside its missing certainty of 0 to 1. Chosen on twelve clips at 160 and 240
# pixels that the network was trained on; `python -m xmem.scoring.judge` judges them on others.
_JUMP = 0.1  # per factor e by which the area changed in one frame
_ODD_SIZE = 0.1  # per factor e between the area and its median of the frames around
_UNUSUAL_SIZE = 0.05  # per factor e between the area and its median of all frames
_FAR = 0.06  # at most, far from a key frame
_FAR_FRAMES = 60  # frames from a key frame at which half of that is reached
_CUT = 0.25  # on the first frame after a cut
_VANISHED = 0.5  # on the first frame without the object
_ABSENT = 0.1  # on later ones: it may have left, and one look tells
_FACTORS = 1.5  # at which a change of area counts no further: about 4.5 times
_NEIGHBOURS = 0.5  # weight of the frames beside it in a frame's certainty: errors last
_FELL = 0.03  # below the clip's median, from where a certainty is said to have fallen
_AROUND = 8  # frames either side that tell an object's size at a time

_LEAST_SCORE = 0.05  # below it nothing is worth a look
_MOST_DOUBTFUL = 0.2  # part of the frames among which suggestions are: others are as good as the clip is anyway
_LEAST_GAP = 3  # frames


@dataclass(frozen=True)
class Suggestion:
    """A frame to check. object: the id that is doubtful there; score: 0 to 1, 1 = worst; reason: for people."""

    frame: int
    object: int
    score: float
    reason: str


def suggest(
    stats: Iterable[ObjectStats],
    cuts: Sequence[int],
    key_frames: Sequence[int],
    count: int = 8,
    names: Mapping[int, str] | None = None,
    dismissed: Collection[tuple[int, int]] = (),
) -> list[Suggestion]:
    """At most `count` frames, worst first, no two of them neighbours: they lie apart by 1 / (2 count) of the clip.

    stats: rows of any frames and objects, in any order. cuts: first frames of new shots. key_frames: those with a given
    mask, which are not suggested. names: what an object is called, by id (its colour where not told). dismissed: frames
    and objects that were looked at, which are not suggested again, nor are others so near.
    Only the most doubtful fifth of the frames is listed, and none on which nothing is doubtful, so that the list of a
    short or good clip is short or empty.
    """
    tracks = _tracks(stats, cuts, key_frames)
    if not tracks:
        return []
    first, last = (end(end(track.frames) for track in tracks) for end in (min, max))
    gap = max(_LEAST_GAP, int(last - first + 1) // (2 * count))
    ranked = _ranked(tracks)
    least = max(_LEAST_SCORE, float(np.quantile(list(_worst(ranked).values()), 1 - _MOST_DOUBTFUL)))
    taken: list[Suggestion] = []
    for score, frame, place, track in ranked:
        if score < least or len(taken) == count:
            break
        looked_at = any(abs(frame - other) < gap and i == track.object for other, i in dismissed)
        if frame not in key_frames and not looked_at and all(abs(frame - other.frame) >= gap for other in taken):
            name = (names or {}).get(track.object) or name_of(track.object)
            taken.append(Suggestion(frame, track.object, round(score, 4), f"{name} {track.reason(place)}"))
    return taken


def frame_scores(
    stats: Iterable[ObjectStats], cuts: Sequence[int] = (), key_frames: Sequence[int] = ()
) -> dict[int, float]:
    """The score by which `suggest` ranks each frame: that of its most doubtful object, 0 to 1, 1 = worst."""
    return _worst(_ranked(_tracks(stats, cuts, key_frames)))


def _worst(ranked: Iterable[tuple[float, int, int, _Track]]) -> dict[int, float]:
    """The first score of each frame."""
    scores: dict[int, float] = {}
    for score, frame, _, _ in ranked:
        scores.setdefault(frame, score)
    return scores


def _tracks(stats: Iterable[ObjectStats], cuts: Sequence[int], key_frames: Sequence[int]) -> list[_Track]:
    """One per object."""
    rows = defaultdict(list)
    for row in sorted(stats, key=lambda row: row.frame):
        rows[row.object].append(row)
    return [_Track(found, cuts, key_frames) for found in rows.values()]


def _ranked(tracks: list[_Track]) -> list[tuple[float, int, int, _Track]]:
    """Score, frame, place in its track, and track, of all objects and frames, worst first."""
    scored = [
        (float(score), int(frame), place, track)
        for track in tracks
        for place, (frame, score) in enumerate(zip(track.frames, track.scores, strict=True))
    ]
    return sorted(scored, key=lambda entry: (-entry[0], entry[1], entry[3].object))


class _Track:
    """What speaks against each frame of one object. frames: int [N], ascending; scores: float [N], 0 to 1."""

    def __init__(self, rows: list[ObjectStats], cuts: Sequence[int], key_frames: Sequence[int]) -> None:
        self.object = rows[0].object
        self.frames = np.array([row.frame for row in rows])
        self._certainty = np.array([row.certainty for row in rows])
        self._area = np.array([row.area for row in rows], float)
        self._doubts = self._weigh(cuts, key_frames)  # reason -> [N]
        self.scores = np.clip(sum(self._doubts.values()), 0, 1)

    def _weigh(self, cuts: Sequence[int], key_frames: Sequence[int]) -> dict[str, np.ndarray]:
        seen = self._area > 0
        log_area = np.log(np.maximum(self._area, 1))
        follows = np.diff(self.frames, prepend=self.frames[0] - 2) == 1  # the row before is the frame before
        self._growth = np.where(follows, np.diff(log_area, prepend=log_area[0]), 0)
        vanished = follows & ~seen & np.roll(seen, 1)
        return {
            "certainty": 1 - _smoothed(self._certainty),
            "jump": _JUMP * _factors(self._growth) * (seen & np.roll(seen, 1)),
            "odd": _ODD_SIZE * _factors(log_area - _median_around(log_area, _AROUND)) * seen,
            "unusual": _UNUSUAL_SIZE * _factors(log_area - np.median(log_area[seen] if seen.any() else 0)) * seen,
            "far": _FAR * _distance_part(self.frames, key_frames),
            "cut": _CUT * np.isin(self.frames, cuts),
            "vanished": _VANISHED * vanished,
            "absent": _ABSENT * (~seen & ~vanished),
        }

    def reason(self, n: int) -> str:
        """Why the n-th frame is doubtful, in words that follow the object's name."""
        certainty = f"{100 * self._certainty[n]:.0f} %"
        weights = {name: doubt[n] for name, doubt in self._doubts.items()}
        weights["certainty"] -= float(np.median(self._doubts["certainty"]))  # what is usual explains no frame
        match max(weights, key=weights.__getitem__):
            case "vanished":
                return "vanished"
            case "absent":
                return "is not seen"
            case "cut":
                return f"after a cut (certainty {certainty})"
            case "jump":
                change = math.exp(self._growth[n]) - 1
                return f"{'grew' if change > 0 else 'shrank'} by {100 * abs(change):.0f} % in one frame"
            case "odd":
                return f"has another size than on the frames around (certainty {certainty})"
            case "unusual":
                return f"has an unusual size (certainty {certainty})"
            case "far":
                return f"is far from a painted frame (certainty {certainty})"
        fell = self._certainty[n] < np.median(self._certainty) - _FELL
        return f"certainty fell to {certainty}" if fell else f"has a certainty of only {certainty}"


def _factors(log_ratio: np.ndarray) -> np.ndarray:
    """Factors e of a change, where many count no more than a few."""
    return np.minimum(np.abs(log_ratio), _FACTORS)


def _distance_part(frames: np.ndarray, key_frames: Sequence[int]) -> np.ndarray:
    """[N] distances from the nearest key frame, as 0 (there) to 1 (far away)."""
    if not len(key_frames):
        return np.zeros(len(frames))
    distance = np.abs(frames[:, None] - np.array(key_frames)).min(axis=1)
    return distance / (distance + _FAR_FRAMES)


def _smoothed(values: np.ndarray) -> np.ndarray:
    """[N] values with a part of each replaced by the mean of its two neighbours."""
    beside = np.pad(values, 1, mode="edge")
    return (1 - _NEIGHBOURS) * values + _NEIGHBOURS * (beside[:-2] + beside[2:]) / 2


def _median_around(values: np.ndarray, reach: int) -> np.ndarray:
    """[N] medians over `reach` rows either side; beyond the ends the last value goes on."""
    padded = np.pad(values, reach, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1), axis=1)
