"""Which frames are most worth checking by eye, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xmem.render.palette import name_of
from xmem.session.stats import ObjectStats

# Log-odds that a frame is bad (its J is lower than the clip's median by 0.1 or more), for each unit by which something
# exceeds its own median in the clip. `python -m xmem.scoring.doubt` learns them on clips of the training, and others
# judge them (docs/benchmark.md).
WEIGHTS = {
    "certainty": 8.58,  # what it lacks
    "motion": 4.88,
    "colour": 9.77,
    "beside": 2.17,
    "loose": 3.49,
    "size": 1.05,  # per factor e between the area and the usual one
}
_PASSES = 4.88  # chosen, as for motion: where both passes meet, training clips had next to no bad frame to learn from
_SURE = 0.15  # what a certainty may lack to be usual, even if all of the clip lacks more
_USUAL = -3.5  # log-odds of a frame on which nothing is unusual
# Chosen: what is not on such a scale. As chances that the frame is bad, beside all else.
_CUT = 0.25  # on the first frame after a cut
_VANISHED = 0.5  # on the first frame without the object
_ABSENT = 0.1  # on later ones: it may have left, and one look tells
_NEIGHBOURS = 0.5  # weight of the frames beside it in a frame's certainty and motion: errors last
_FELL = 0.03  # below the clip's median, from where a certainty is said to have fallen
_PART = 0.04  # of an object, from where a piece is said to have vanished or appeared
_IN_ONE_FRAME = 0.2  # change of area that is told in percent

_LEAST_SCORE = 0.06  # below it nothing is worth a look: twice the odds of a usual frame
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


def object_scores(
    stats: Iterable[ObjectStats], cuts: Sequence[int] = (), key_frames: Sequence[int] = ()
) -> dict[tuple[int, int], float]:
    """The score of each (frame, object), 0 to 1, 1 = worst: what a timeline shows."""
    ranked = _ranked(_tracks(stats, cuts, key_frames))
    return {(frame, track.object): score for score, frame, _, track in ranked}


def unusual(rows: Sequence[ObjectStats]) -> np.ndarray:
    """float [N, len(WEIGHTS)]: what speaks against each frame of one object's rows, ascending, before it is weighed."""
    return np.stack(list(_Track(list(rows), (), ()).unusual().values()), axis=1)


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
        self._rows = rows
        self._is_seen = self._area > 0
        follows = np.diff(self.frames, prepend=self.frames[0] - 2) == 1  # the row before is the frame before
        self._growth = np.where(
            follows, np.diff(self._area, prepend=self._area[0]) / np.maximum(_before(self._area), 1), 0
        )
        self._vanished = follows & ~self._is_seen & _before(self._is_seen)
        self._doubts = self._weigh()  # reason -> [N], log-odds
        self._events = self._chances(cuts)  # reason -> [N], chances
        is_given = np.isin(self.frames, key_frames)
        odds = _USUAL + sum(self._doubts.values())
        good = 1 / (1 + np.exp(odds))
        for chance in self._events.values():
            good = good * (1 - chance)
        self.scores = np.where(is_given, 0.0, 1 - good)

    def unusual(self) -> dict[str, np.ndarray]:
        """[N] by the names of `WEIGHTS`: by how much each piece of evidence exceeds its median in the clip."""
        size = np.log(np.maximum(self._area, 1))
        usual = float(np.median(size[self._is_seen])) if self._is_seen.any() else 0.0
        told = {
            "certainty": _smoothed(1 - self._certainty),
            "motion": _smoothed(self._told("motion")),
            "colour": self._told("colour"),
            "beside": self._told("beside"),
            "loose": self._told("loose"),
            "size": np.abs(size - usual) * self._is_seen,
        }
        return {name: told[name] - np.median(told[name]) for name in WEIGHTS}

    def _weigh(self) -> dict[str, np.ndarray]:
        doubts = {name: WEIGHTS[name] * values for name, values in self.unusual().items()}
        lacking = float(np.median(1 - self._certainty)) - _SURE
        doubts["certainty"] += WEIGHTS["certainty"] * max(0.0, lacking)
        return doubts | {"passes": _PASSES * self._told("passes")}  # counted as it is: passes mostly agree

    def _told(self, name: str) -> np.ndarray:
        """[N] of what `Evidence` calls so; its median where nothing was told, 0 where it nowhere was."""
        values = [getattr(row.evidence, name) for row in self._rows]
        known = [value for value in values if value is not None]
        usual = float(np.median(known)) if known and name != "passes" else 0.0
        return np.array([usual if value is None else value for value in values], float)

    def _chances(self, cuts: Sequence[int]) -> dict[str, np.ndarray]:
        return {
            "cut": _CUT * np.isin(self.frames, cuts),
            "vanished": _VANISHED * self._vanished,
            "absent": _ABSENT * (~self._is_seen & ~self._vanished),
        }

    def reason(self, n: int) -> str:
        """Why the n-th frame is doubtful, in words that follow the object's name."""
        event = max(self._events, key=lambda name: self._events[name][n])
        if self._events[event][n] > 0 and (event != "absent" or self.scores[n] < 2 * _ABSENT):
            return {"vanished": "vanished", "absent": "is not seen", "cut": "after a cut"}[event]
        evidence, growth = self._rows[n].evidence, float(self._growth[n])
        reason = max(self._doubts, key=lambda name: self._doubts[name][n])
        if reason in ("motion", "size", "loose"):
            lost, gained = evidence.lost or 0.0, evidence.gained or 0.0
            if max(lost, gained) >= _PART:
                return "lost a part" if lost >= gained else "gained a part"
            if abs(growth) >= _IN_ONE_FRAME and self._is_seen[n]:
                return f"{'grew' if growth > 0 else 'shrank'} by {100 * abs(growth):.0f} % in one frame"
        match reason:
            case "motion":
                return "jumps against the motion of the picture"
            case "colour":
                return "has colours unlike those where it was painted"
            case "beside":
                return "may be cut short: its colours go on beside it"
            case "loose":
                return "is in pieces"
            case "size":
                larger = self._area[n] > np.median(self._area[self._is_seen])
                return f"is much {'larger' if larger else 'smaller'} than usual"
            case "passes":
                return "differs between the forward and the backward pass"
        certainty = f"{100 * self._certainty[n]:.0f} %"
        fell = self._certainty[n] < np.median(self._certainty) - _FELL
        return f"certainty fell to {certainty}" if fell else f"has a certainty of only {certainty}"


def _before(values: np.ndarray) -> np.ndarray:
    """[N] of the row before; the first one's own."""
    return np.concatenate([values[:1], values[:-1]])


def _smoothed(values: np.ndarray) -> np.ndarray:
    """[N] values with a part of each replaced by the mean of its two neighbours."""
    beside = np.pad(values, 1, mode="edge")
    return (1 - _NEIGHBOURS) * values + _NEIGHBOURS * (beside[:-2] + beside[2:]) / 2
