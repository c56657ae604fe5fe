"""What is known of every object on every frame: area, certainty, overlap with the frame before, box, centroid, and the
evidence for and against its mask."""

from __future__ import annotations

import csv
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from pydantic import TypeAdapter, ValidationError

from xmem.errors import InputError
from xmem.session.evidence import NOTHING, Evidence
from xmem.session.probabilities import STEPS, as_floats, bits_of
from xmem.session.schema import Coordinate, Count, FrameNumber, ObjectId, Share

log = logging.getLogger("xmem")

_FIRST = ("frame", "object", "area", "certainty", "overlap", "x", "y", "width", "height", "centre_x", "centre_y")
_EVIDENCE = tuple(item.name for item in fields(Evidence))
_COLUMNS = (*_FIRST, *_EVIDENCE)  # tables of earlier versions have the first ones alone
# Far from an object the network leaves traces of probability. Over a whole frame they would add up to more than a small
# object, so that only what could still become part of the object counts.
_TRACE = 0.05


@dataclass(frozen=True)
class ObjectStats:
    """One object on one frame. area: pixels of its mask at source size. certainty: see `certainties`, 0 to 1.

    overlap: intersection over union with the same object's mask on the neighbouring frame, 1 where both are empty or no
    frame was before. box: (x, y, width, height) and centroid: (x, y) in pixels of the source, None where area is 0.
    evidence: what else was told of it, nothing in the tables of earlier versions.
    """

    frame: int
    object: int
    area: int
    certainty: float
    overlap: float
    box: tuple[int, int, int, int] | None
    centroid: tuple[float, float] | None
    evidence: Evidence = NOTHING


@dataclass(frozen=True)
class Shape:
    """An object's pixels on a frame. area, box, centroid: as `ObjectStats` has them; inside: bool [h, w] of the box."""

    area: int
    box: tuple[int, int, int, int] | None
    centroid: tuple[float, float] | None
    inside: np.ndarray

    def overlap(self, other: Shape) -> float:
        """Intersection over union; 1 where both are empty."""
        shared = 0
        if self.box and other.box:
            rows = range(max(self.box[1], other.box[1]), min(self.box[1] + self.box[3], other.box[1] + other.box[3]))
            columns = range(max(self.box[0], other.box[0]), min(self.box[0] + self.box[2], other.box[0] + other.box[2]))
            if rows and columns:
                shared = int(np.count_nonzero(self._part(rows, columns) & other._part(rows, columns)))
        union = self.area + other.area - shared
        return shared / union if union else 1.0

    def _part(self, rows: range, columns: range) -> np.ndarray:
        assert self.box is not None
        x, y = self.box[:2]
        return self.inside[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]


def shapes_of(index: np.ndarray, objects: Sequence[int]) -> list[Shape]:
    """Of each of `objects` in an index mask uint8 [H, W]."""
    return [_shape(index == i) for i in objects]


def measure(
    frame: int,
    shapes: Sequence[Shape],
    probabilities: np.ndarray,
    objects: Sequence[int],
    previous: Sequence[Shape] | None = None,
    evidence: Sequence[Evidence] | None = None,
) -> list[ObjectStats]:
    """One row per object of a frame, in the order of `objects`.

    shapes: of each object, at source size; probabilities: [O, h, w] at inference size, channel o of the id objects[o],
    background left out, as `certainties` takes them; previous: shapes on the neighbouring frame, None on the first one.
    evidence: of each object, if any.
    Values are rounded to what is meaningful, so that a table holds them exactly.
    Raises ValueError where there is not one channel per object.
    """
    if probabilities.ndim != 3 or len(probabilities) != len(objects):
        raise ValueError(f"{len(objects)} objects need probabilities [{len(objects)}, h, w].")
    rows = []
    told = evidence or [NOTHING] * len(objects)
    overlaps = [shape.overlap(other) for shape, other in zip(shapes, previous or shapes, strict=True)]
    for i, shape, certainty, overlap, known in zip(
        objects, shapes, certainties(probabilities), overlaps, told, strict=True
    ):
        figures = shape.area, round(certainty, 4), round(overlap, 4), shape.box, shape.centroid
        rows.append(ObjectStats(frame, i, *figures, known))
    return rows


def certainties(probabilities: np.ndarray) -> list[float]:
    """Per object, the overlap (J) that its mask has with the truth if the network's probabilities are right.

    probabilities: uint16 [O, h, w] as they are kept (`xmem.session.probabilities`), or float32, which are rounded to
    it; background left out. Of an object's own pixels each adds its probability to the expected intersection; pixels
    outside add theirs to the expected union. So both doubtful pixels inside the mask and probable ones beside it lower
    it, and a small object's doubts weigh as much as a large one's. Where an object has no pixel it is the certainty
    that it is absent: 1 minus the highest probability left.
    """
    bits = probabilities if probabilities.dtype == np.uint16 else bits_of(probabilities)
    return [_of_one(bits[0])] if len(bits) == 1 else [_of_several(bits, i) for i in range(len(bits))]


def _of_one(bits: np.ndarray) -> float:
    """Expected overlap, 0 to 1, of an object that is alone: all sums are of whole numbers. bits: uint16 [h, w]."""
    probable, own = (cv2.threshold(bits, least, 0, cv2.THRESH_TOZERO)[1] for least in (int(_TRACE * STEPS), STEPS // 2))
    area = cv2.countNonZero(own)
    if area == 0:
        return 1 - int(bits.max(initial=0)) / STEPS
    intersection = cv2.sumElems(own)[0]
    outside = cv2.sumElems(probable)[0] - intersection
    return min(1.0, intersection / (STEPS * area + outside))


def _of_several(bits: np.ndarray, channel: int) -> float:
    """Expected overlap, 0 to 1, of one object among others. bits: uint16 [O, h, w]."""
    whole = bits[channel]
    least = min(_TRACE, 0.5 / (1 + len(bits)))  # the highest of O + 1 that sum to one is above 1 / (O + 1)
    x, y, width, height = cv2.boundingRect((whole > int(least * STEPS)).view(np.uint8))  # most of a frame is far away
    near = as_floats(bits[:, y : y + height, x : x + width])
    probability = near[channel]  # [h, w]
    mask = probability > 1 - near.sum(axis=0)  # above the background
    mask &= probability >= near.max(axis=0)
    area = np.count_nonzero(mask)
    if area == 0:
        return 1 - int(whole.max(initial=0)) / STEPS
    intersection = float(np.vdot(probability, mask))
    outside = float(np.vdot(probability, ~mask & (probability > _TRACE)))
    return min(1.0, intersection / (area + outside))


def _shape(mask: np.ndarray) -> Shape:
    """Of bool [H, W]."""
    counts = [cv2.reduce(mask.view(np.uint8), axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() for axis in (0, 1)]
    columns, rows = (np.flatnonzero(count) for count in counts)
    if len(columns) == 0:
        return Shape(0, None, None, mask[:0, :0])
    area = int(counts[0].sum())
    x, y = (round(int(count @ np.arange(len(count))) / area, 2) for count in counts)
    (left, right), (top, bottom) = ((int(places[0]), int(places[-1]) + 1) for places in (columns, rows))
    inside = mask[top:bottom, left:right].copy()  # the rest of a frame need not be kept
    return Shape(area, (left, top, right - left, bottom - top), (x, y), inside)


class StatsFile:
    """Rows of measures in a CSV file, appended frame by frame; what was appended is on disk when append returns."""

    def __init__(self, path: str | PathLike) -> None:
        self.path = Path(path)
        self._is_whole = False  # as far as this object has written it

    def append(self, rows: Sequence[ObjectStats]) -> None:
        """Add the rows of a frame. A row left half written by a crash is closed first, and stays unread."""
        start = "" if self._is_whole else self._start()
        self._is_whole = False
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            file.write(start)
            csv.writer(file, lineterminator="\n").writerows(_cells(row) for row in rows)
        self._is_whole = True

    def _start(self) -> str:
        """What has to come before the next row: the header, the end of a broken line, or nothing."""
        try:
            with open(self.path, "rb") as file:
                if file.seek(0, 2):
                    file.seek(-1, 2)
                    return "" if file.read(1) == b"\n" else "\n"
        except FileNotFoundError:
            pass
        return ",".join(_COLUMNS) + "\n"


def read_stats(
    path: str | PathLike, frames: range | None = None, objects: Collection[int] | None = None
) -> dict[tuple[int, int], ObjectStats]:
    """The rows of a StatsFile by (frame, object); of several rows for the same, the last. Empty where there is no file.

    frames, objects: those that are of use; others are passed over. Lines that are no row (a write was cut short) are
    left out, and the log says how many.
    Raises InputError for a file that is no table of text.
    """
    rows, broken = {}, 0
    try:
        for cells in _lines(Path(path)):
            row = _row(cells)
            if row is None:
                broken += 1
            elif (frames is None or row.frame in frames) and (objects is None or row.object in objects):
                rows[row.frame, row.object] = row
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"The table {Path(path).name!r} is damaged; compute the frames again.") from error
    if broken:
        log.warning("%d incomplete lines of %s were left out.", broken, Path(path).name)
    return rows


def _lines(path: Path) -> Iterator[list[str]]:
    """The cells of each line below the header."""
    if not path.is_file():
        return
    with open(path, newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        next(lines, None)
        yield from lines


def _cells(row: ObjectStats) -> list[object]:
    box, centroid = row.box or [""] * 4, row.centroid or [""] * 2
    told = ("" if value is None else value for value in (getattr(row.evidence, name) for name in _EVIDENCE))
    return [row.frame, row.object, row.area, row.certainty, row.overlap, *box, *centroid, *told]


_Side: TypeAlias = Count | None  # None: an empty cell, of an object without a pixel
_Centre: TypeAlias = Coordinate | None
_CELLS = TypeAdapter(tuple[FrameNumber, ObjectId, Count, Share, Share, _Side, _Side, _Side, _Side, _Centre, _Centre])
_TOLD = TypeAdapter(dict[str, Share | None])


def _row(cells: list[str]) -> ObjectStats | None:
    """None for a line that is no whole row: of all columns, or of those that earlier versions wrote."""
    if len(cells) not in (len(_FIRST), len(_COLUMNS)):
        return None
    values = [cell or None for cell in cells]
    try:
        frame, i, area, certainty, overlap, left, top, width, height, x, y = _CELLS.validate_python(
            values[: len(_FIRST)]
        )
        evidence = Evidence(**_TOLD.validate_python(dict(zip(_EVIDENCE, values[len(_FIRST) :], strict=False))))
    except ValidationError:
        return None
    if left is None and top is None and width is None and height is None and x is None and y is None:
        return ObjectStats(frame, i, area, certainty, overlap, None, None, evidence)
    if left is None or top is None or width is None or height is None or x is None or y is None:
        return None
    return ObjectStats(frame, i, area, certainty, overlap, (left, top, width, height), (x, y), evidence)
