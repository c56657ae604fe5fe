"""Results on disk, a folder per span: index masks as they were computed, probabilities, and figures per frame.

Probabilities are kept at inference size (see `xmem.session.probabilities`), the objects in order of their ids; index
masks are made from the float values.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import numpy as np
from pydantic import TypeAdapter

from xmem.device import allowed_cores
from xmem.engine.pipeline import Behind
from xmem.engine.transfers import Fetched
from xmem.errors import InputError
from xmem.limits import MIN_SIZE, scaled
from xmem.render.masks import read_index_mask
from xmem.render.plain_png import write_compact_mask
from xmem.session import probabilities as soft
from xmem.session.evidence import View, Witness, disagreement
from xmem.session.schema import read_json
from xmem.session.settings import SCOPES, WHOLE
from xmem.session.spans import Span, SpanTable, span_as_json, span_of_table
from xmem.session.stats import ObjectStats, Shape, StatsFile, measure, read_stats, shapes_of
from xmem.session.suspended import STATE
from xmem.video.stills import png_header

PROBABILITIES = "probabilities"
ASIDE = "aside"  # folder of what one pass alone gave, for the other one to be blended with
_WAITING = 8  # frames, or their figures, that may wait to be written
_MOST_THREADS = 4


class Shown:
    """A frame in which evidence is found, for several threads.

    mask: gives its index mask uint8 [H, W]. image: uint8 [H, W, 3] RGB; None where it is not at hand. passes: give what
    the pass is blended with, float32 [O, h, w], and its own as `sixteen_bits`, where there are two.
    """

    def __init__(self, mask: Fetched, image: np.ndarray | None = None, passes: tuple[Fetched, Fetched] | None = None):
        self.mask, self.image, self.passes = mask, image, passes
        self._lock = threading.Lock()
        self._view: View | None = None
        self._shapes: list[Shape] | None = None

    def shapes(self, objects: Sequence[int]) -> list[Shape]:
        """Of `objects`, always the same ones: made by whoever asks first, while others wait."""
        with self._lock:
            if self._shapes is None:
                self._shapes = shapes_of(self.mask(), objects)
            return self._shapes

    def view(self) -> View | None:
        """Image and mask, small, made likewise. None without an image."""
        with self._lock:
            if self._view is None and self.image is not None:
                self._view = View(self.image, self.mask())
            return self._view


@dataclass(frozen=True)
class SpanResult:
    """The folder of one span's results.

    signature: of the settings; complete: whether the run came to its end. scope: how far it went from corrected key
    frames, of `SCOPES`; beyond, frames are as they were before. fresh: those of its ends from which it did not go.
    """

    number: int
    folder: Path
    span: Span
    signature: dict
    complete: bool
    scope: str = WHOLE
    fresh: tuple[int, ...] = ()

    @staticmethod
    def read(folder: Path) -> SpanResult:
        """Raises InputError where span.json is missing, or not as `write` leaves it."""
        table = read_json(folder / "span.json", _FORM, "The table of a result", _MAX_BYTES)
        span = span_of_table(table)
        return SpanResult(int(folder.name), folder, span, table.signature, table.complete, table.scope, table.fresh)

    def write(self) -> None:
        """Write span.json in one replace."""
        about = {"signature": self.signature, "complete": self.complete, "scope": self.scope, "fresh": self.fresh}
        values = span_as_json(self.span) | about
        temporary = self.folder / "span.part"
        temporary.write_text(json.dumps(values))
        os.replace(temporary, self.folder / "span.json")

    def frames(self) -> list[int]:
        """Frames that have a mask here, ascending."""
        return sorted(int(name[:-4]) for name in os.listdir(self.folder / "masks") if name.endswith(".png"))

    def written(self) -> dict[int, int]:
        """When the mask of each frame was written, in nanoseconds."""
        with os.scandir(self.folder / "masks") as files:
            masks = [file for file in files if file.name.endswith(".png")]
            return {int(file.name[:-4]): file.stat().st_mtime_ns for file in masks}

    def mask(self, frame: int) -> np.ndarray:
        """Index mask uint8 [H, W], as computed."""
        return read_index_mask(self.folder / "masks" / f"{frame:05d}.png")

    def probabilities(self, frame: int) -> np.ndarray | None:
        """float32 [O, h, w] at inference size, in order of `span.objects`; None on a frame without."""
        stacked = self._stacked(PROBABILITIES, frame)
        return None if stacked is None else soft.as_floats(stacked)

    def sixteen_bits(self, frame: int) -> np.ndarray | None:
        """`probabilities` as they are kept, uint16 [O, h, w]."""
        return self._stacked(PROBABILITIES, frame)

    def probability(self, frame: int, object_id: int) -> np.ndarray | None:
        """float32 [h, w] of one object of the span; None on a frame without."""
        stacked = self._stacked(PROBABILITIES, frame)
        return None if stacked is None else soft.as_floats(stacked[self.span.objects.index(object_id)])

    def first_pass(self, frame: int) -> np.ndarray | None:
        """What the first of two passes gave, also where it has been blended already; None on a frame without."""
        kept = self._stacked(ASIDE, frame)
        return self.probabilities(frame) if kept is None else soft.as_floats(kept)

    def finish(self, scope: str, fresh: tuple[int, ...]) -> SpanResult:
        """Complete, also on disk: what a run that is suspended would need is removed."""
        complete = replace(self, complete=True, scope=scope, fresh=fresh)
        complete.write()
        shutil.rmtree(self.folder / ASIDE, ignore_errors=True)
        (self.folder / STATE).unlink(missing_ok=True)
        return complete

    def _stacked(self, folder: str, frame: int) -> np.ndarray | None:
        """uint16 [O, h, w]. Raises InputError where the file is not as the writer left it."""
        path = soft.found(self.folder / folder, frame)
        return None if path is None else soft.read(path, len(self.span.objects))

    def check(self, width: int, height: int, frame_count: int) -> None:
        """Compare all files with a video of width x height pixels, without decoding any. Raises InputError.

        Probabilities have the inference size that the signature names, if any; masks are of the video's size.
        """
        if max(self.span.last, *(end.frame for end in (self.span.start, self.span.end) if end), 0) >= frame_count:
            raise InputError("The table of a result names frames that the video does not have: save the bundle again.")
        size = self.signature.get("size")
        if size is not None and (type(size) is not int or size < MIN_SIZE):
            raise InputError("The table of a result is damaged (its inference size): save the bundle again.")
        expected = scaled(width, height, size)
        for path in sorted((self.folder / "masks").glob("*.png")):
            if png_header(path)[:2] != (width, height):
                raise soft.damaged(path)
        for path in soft.all_files(self.folder / PROBABILITIES):
            found = soft.shape_of(path, len(self.span.objects))
            smaller = size is None and found[0] <= height and found[1] <= width  # as some networks choose themselves
            if found != expected and not smaller:
                raise soft.damaged(path)
        self.stats()

    def stats(self) -> dict[tuple[int, int], ObjectStats]:
        """Figures by (frame, object) of the span. Raises InputError where they are no table."""
        path = self.folder / "stats.csv"
        return read_stats(path, range(self.span.first, self.span.last + 1), self.span.objects)


_FORM = TypeAdapter(SpanTable)
_MAX_BYTES = 1 << 20  # of span.json


class ResultWriter:
    """Writes frames into a span's folder while the caller goes on, a few at a time; use as a context manager.

    Several threads do it: files may be there in another order than they were given, figures come in order. An error,
    an InputError where the disk is full, shows at a later call, or on leaving the context; nothing is begun after it,
    and `flush` raises it each time.
    """

    def __init__(self, result: SpanResult):
        self._folder, self._objects = result.folder, result.span.objects
        for name in ("masks", PROBABILITIES, ASIDE):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
            for part in (self._folder / name).glob("*.part"):  # of a run that was killed
                part.unlink()
        self._stats = StatsFile(self._folder / "stats.csv")
        self._behind = Behind(_WAITING, min(allowed_cores(), _MOST_THREADS))
        self._appending = threading.Lock()
        self._given = 0  # how often figures were asked for
        self._coming: dict[int, Sequence[ObjectStats]] = {}  # by that number, until those before have come
        self._appended = 0
        self._witness = Witness(self._objects)

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._behind.__exit__(kind, error, trace)

    def write(
        self, frame: int, mask: Fetched, probabilities: Fetched, alone: Fetched | None = None, second: bool = False
    ) -> None:
        """mask: gives the index mask uint8 [H, W]; probabilities: give [O, h, w] as `sixteen_bits` makes them.

        What one pass alone gave is kept aside until the span is complete: alone, of a first pass whose probabilities
        are blended with those from before; or what was written before, where this is the second pass.
        """
        self._behind.put(self._write, frame, mask, probabilities, alone, second)

    def painted(self, frame: int, image: np.ndarray, mask: np.ndarray) -> None:
        """Tell of a key frame, before any frame is measured: image uint8 [H, W, 3] RGB and its given index mask
        [H, W], which others are held to."""
        self._witness.painted(frame, image, mask)

    def measure(self, frame: int, probabilities: Fetched, shown: Shown, neighbour: Shown | None) -> None:
        """Add the frame's figures. probabilities: as `write` takes them; neighbour: the frame that it is compared with,
        if any."""
        self._behind.put(self._measure, self._number(), frame, probabilities, shown, neighbour)

    def copy(self, rows: Sequence[ObjectStats]) -> None:
        """Add figures as they are."""
        self._behind.put(self._append, self._number(), rows)

    def flush(self) -> None:
        """Wait until all that was given is on disk."""
        self._behind.flush()

    def _write(self, frame: int, mask: Fetched, probabilities: Fetched, alone: Fetched | None, second: bool) -> None:
        written, aside = self._folder / PROBABILITIES, self._folder / ASIDE
        encoded, own = soft.packed(probabilities()), soft.packed(alone()) if alone else None
        with _disk_may_be_full():
            before = soft.found(written, frame) if second and soft.found(aside, frame) is None else None
            if own is not None:
                _replace(soft.path_of(aside, frame), lambda path: path.write_bytes(own))
            elif before is not None:
                os.replace(before, aside / before.name)
            _replace(soft.path_of(written, frame), lambda path: path.write_bytes(encoded))
            _replace(self._folder / "masks" / f"{frame:05d}.png", lambda path: write_compact_mask(path, mask()))

    def _number(self) -> int:
        self._given += 1
        return self._given - 1

    def _measure(self, number: int, frame: int, probabilities: Fetched, shown: Shown, neighbour: Shown | None) -> None:
        passes = None
        if shown.passes:
            other, own = shown.passes
            passes = disagreement(other(), soft.as_floats(own()), self._objects)
        view = shown.view()
        evidence = self._witness.look(view, neighbour.view() if neighbour else None, passes) if view else None
        shapes, previous = shown.shapes(self._objects), neighbour.shapes(self._objects) if neighbour else None
        bits = probabilities().view(np.uint16)
        self._append(number, measure(frame, shapes, bits, self._objects, previous, evidence))

    def _append(self, number: int, rows: Sequence[ObjectStats]) -> None:
        with self._appending, _disk_may_be_full():
            self._coming[number] = rows
            while self._appended in self._coming:
                self._stats.append(self._coming.pop(self._appended))
                self._appended += 1


@contextmanager
def _disk_may_be_full() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError("The disk is full: free some space and track again; frames done are kept.") from error


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_suffix(".part")
    try:
        write(temporary)
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):  # a disk that is full has better use for it
            temporary.unlink(missing_ok=True)
        raise


class Results:
    """All span results of a session, and which of them speaks for each frame."""

    def __init__(self, folder: Path, frame_count: int):
        self._folder = folder
        self._frame_count = frame_count
        folders = sorted((path for path in folder.glob("*") if path.name.isdigit()), key=lambda path: int(path.name))
        self.all = [SpanResult.read(path) for path in folders if (path / "span.json").exists()]
        self._by_ends = _grouped(self.all)

    def new(self, span: Span, signature: dict) -> SpanResult:
        """A new, empty result for `span`."""
        numbers = [int(path.name) for path in self._folder.glob("*") if path.name.isdigit()]
        number = max(numbers, default=0) + 1
        result = SpanResult(number, self._folder / str(number), span, signature, False)
        (result.folder / "masks").mkdir(parents=True)  # before the table, by which others find the result
        result.write()
        self.all.append(result)
        return result

    def complete(self, result: SpanResult, scope: str = WHOLE, fresh: tuple[int, ...] = ()) -> SpanResult:
        """The run of a result came to its end. scope, fresh: as a `SpanResult` has them."""
        done = result.finish(scope, fresh)
        self.all = [done if other.number == result.number else other for other in self.all]
        self._by_ends = _grouped(self.all)
        return done

    def serving(self, span: Span, signature: dict | None, scope: str = SCOPES[0]) -> SpanResult | None:
        """The newest complete result of what `span` asks for, carried as far as `scope` or farther; signature None:
        under whatever settings."""
        enough = SCOPES[SCOPES.index(scope) :]
        fitting = (
            result
            for result in reversed(self._by_ends.get(_ends(span), ()))
            if result.scope in enough
            and span.is_served_by(result.span)
            and (signature is None or signature == result.signature)
        )
        return next(fitting, None)

    def suspended(self, span: Span, signature: dict) -> SpanResult | None:
        """The newest result that was left while `span` was computed, under these settings, and can be gone on with."""
        left = self._left(span, signature)
        return next((result for result in left if (result.folder / STATE).exists()), None)

    def _left(self, span: Span, signature: dict) -> Iterator[SpanResult]:
        """Results of this very span that are not complete, the newest first."""
        return (
            result
            for result in reversed(self.all)
            if not result.complete and (result.span, result.signature) == (span, signature)
        )

    def forget(self, span: Span, signature: dict) -> None:
        """Where the computation of `span` was left, so that it begins anew; what it has found stays until then."""
        while (left := self.suspended(span, signature)) is not None:
            (left.folder / STATE).unlink()

    def before(self, span: Span, layers: Iterable[Sequence[Span]], signature: dict) -> dict[int, SpanResult]:
        """What was there on the frames of a span before it is computed, under these settings, by frame.

        layers: the spans of its present state and of each state before, the newest first. A result of an earlier state
        counts where none of a later one has the frame.
        """
        found: dict[int, SpanResult] = {}
        for spans in layers:
            for other in spans:
                first, last = max(span.first, other.first), min(span.last, other.last)
                missing = [frame for frame in range(first, last + 1) if frame not in found]
                if not missing:
                    continue
                complete = self.serving(other, signature)
                results = [complete] if complete else [] if other == span else list(self._left(other, signature))
                for result in results:
                    there = set(result.frames())
                    found |= {frame: result for frame in missing if frame in there and frame not in found}
            if len(found) == span.length:
                break
        return found

    def owners(self, layers: Sequence[Sequence[Span]], signature: dict) -> list[SpanResult | None]:
        """For each frame of the video the result that speaks for it. layers: as `before` takes them.

        First that of its span; where that is still to be computed, what there is of it, and what was there before it;
        at last, the newest that there is, complete or not.
        """
        owners: list[SpanResult | None] = [None] * self._frame_count
        frames = {result.number: [f for f in result.frames() if f < self._frame_count] for result in self.all}
        for result in self.all:
            for frame in frames[result.number]:
                owners[frame] = result
        for span in layers[0]:
            serving = self.serving(span, signature)
            if serving is None:
                for frame, result in self.before(span, layers, signature).items():
                    owners[frame] = result
                serving = next(self._left(span, signature), None) or self.serving(span, None)
            for frame in frames[serving.number] if serving else ():
                if span.first <= frame <= span.last:
                    owners[frame] = serving
        return owners

    def prune(self, kept: Iterable[SpanResult | None]) -> None:
        """Remove the results that are not among `kept`."""
        numbers = {result.number for result in kept if result is not None}
        for result in self.all:
            if result.number not in numbers:
                shutil.rmtree(result.folder, ignore_errors=True)
        self.all = [result for result in self.all if result.number in numbers]
        self._by_ends = _grouped(self.all)


_Ends = tuple[tuple[int, str] | None, ...]


def _ends(span: Span) -> _Ends:
    """The key frames at the ends, which have to be the same in a result that serves a span."""
    return tuple(None if end is None else (end.frame, end.mask) for end in (span.start, span.end))


def _grouped(results: Iterable[SpanResult]) -> dict[_Ends, list[SpanResult]]:
    """Complete results by their ends."""
    groups: dict[_Ends, list[SpanResult]] = {}
    for result in results:
        if result.complete:
            groups.setdefault(_ends(result.span), []).append(result)
    return groups
