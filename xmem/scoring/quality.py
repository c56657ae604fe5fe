"""J and F of a result against masks that are known to be right, in a ZIP."""

from __future__ import annotations

import io
import logging
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from natsort import natsorted
from PIL import Image

from xmem import leaving
from xmem.errors import InputError
from xmem.render.masks import read_mask
from xmem.scoring.evaluation import ObjectMeans, ObjectScore
from xmem.scoring.metrics import boundary_accuracy, region_similarity
from xmem.video.stills import CheckSize, StillReader
from xmem.zips import UNREADABLE, TooManyFiles, open_zip

log = logging.getLogger("xmem")

MASK_FOLDERS = ("Annotations", "masks")  # where an archive has one of them, masks lie below it, images elsewhere
MAX_FILES = 100_000  # in a ZIP
MAX_BYTES = 64_000_000  # of one mask, unpacked: more than a raw 8K index mask
_MATCH_FRAMES = 16  # frames at most, beside the given ones, that tell which object is which
_HOW_TO = "give a ZIP of PNG index masks named like the video's frames (00000.png, 00001.png, …)"


@dataclass(frozen=True)
class FrameScore:
    """J and F, 0 to 1, of an object on a frame."""

    frame: int
    object: int
    j: float
    f: float


@dataclass(frozen=True)
class QualityReport(ObjectMeans):
    """Scores by frame and object, and their means.

    rows: by frame, then object. objects: mean J and F of each object over its frames; j, f, jf: means over the objects,
    as DAVIS counts. left_out: ids in the known masks that match no object of the result, not scored.
    """

    rows: tuple[FrameScore, ...]
    objects: tuple[ObjectScore, ...]
    left_out: tuple[int, ...] = ()
    _truth: Truth = field(repr=False, kw_only=True)

    def truth(self, frame: int) -> np.ndarray:
        """The known mask of a scored frame, uint8 [H, W], under the ids of the result's objects; read anew."""
        try:
            return self._truth.index(frame)
        finally:
            self._truth.rest()

    def worst(self, count: int = 8) -> list[int]:
        """The frames of the lowest J, means over the objects, the worst first."""
        sums: dict[int, list[float]] = {}
        for row in self.rows:
            sums.setdefault(row.frame, []).append(row.j)
        return sorted(sums, key=lambda frame: (np.mean(sums[frame]), frame))[:count]


def score(
    predicted: Callable[[int], np.ndarray],
    names: Sequence[str],
    truth: str | Path,
    given: Iterable[int] | None = None,
    davis: bool = False,
) -> QualityReport:
    """Score index masks against known ones, reading one frame at a time.

    predicted: frame -> index mask uint8 [H, W]. names: of the frames, as mask files are named. truth: a ZIP (nothing is
    unpacked) of mask images: flat, in folders, or laid out like DAVIS. Masks belong to frames by name, else
    by the number in it, or in order where there is one per frame; frames without a mask are not scored, and neither are
    the `given` ones, whose masks a person painted (the first frame that has a known mask, if left out).
    davis: leave the last frame out as well, as the DAVIS benchmark does.
    Objects of the known masks are those of the result that they overlap most on given frames and some others.
    Raises InputError where these masks cannot score this result.
    """
    with closing(_Archive(Path(truth))) as archive:
        found = _by_frame(archive.names, names)
        shape = predicted(min(found)).shape
        masks = Truth(archive, found, shape)
        given = {min(found)} if given is None else set(given)
        masks.match(_matching(predicted, masks, _match_frames(sorted(found), given)))
        skipped = given | ({len(names) - 1} if davis else set())
        rows = tuple(row for frame in sorted(found) if frame not in skipped for row in _rows(predicted, masks, frame))
    if not rows:
        raise InputError(
            "There are known masks only for frames that are not scored, since their mask was given: "
            "give masks of other frames as well."
        )
    return QualityReport(rows, _means(rows), tuple(sorted(masks.unmatched)), _truth=masks)


def _rows(predicted: Callable[[int], np.ndarray], masks: Truth, frame: int) -> Iterator[FrameScore]:
    found, truth = predicted(frame), masks.index(frame)
    for i in sorted(masks.objects.values()):
        ours, known = found == i, truth == i
        yield FrameScore(frame, i, region_similarity(ours, known), boundary_accuracy(ours, known))


def _means(rows: Sequence[FrameScore]) -> tuple[ObjectScore, ...]:
    parts: dict[int, list[FrameScore]] = {}
    for row in rows:
        parts.setdefault(row.object, []).append(row)
    return tuple(
        ObjectScore(i, float(np.mean([row.j for row in own])), float(np.mean([row.f for row in own])))
        for i, own in sorted(parts.items())
    )


class Truth:
    """Known masks by frame, read one at a time."""

    def __init__(self, archive: _Archive, found: Mapping[int, str], shape: tuple[int, int]):
        self._archive = archive
        self._found = found
        self._shape = shape
        self.objects: dict[int, int] = {}  # id in the known masks -> object of the result
        self.unmatched: set[int] = set()

    def match(self, objects: Mapping[int, int]) -> None:
        """From here on `index` gives the result's ids."""
        self.objects = dict(objects)

    def index(self, frame: int) -> np.ndarray:
        """uint8 [H, W] of the result's ids; objects without a counterpart are left out."""
        own = self.own(frame)
        self.unmatched |= {int(i) for i in np.unique(own) if i} - set(self.objects)
        table = np.zeros(256, np.uint8)
        for i, object_id in self.objects.items():
            table[i] = object_id
        return table[own]

    def rest(self) -> None:
        """End what decodes; a later look begins it again."""
        self._archive.stills.close()

    def own(self, frame: int) -> np.ndarray:
        """uint8 [H, W] of the ids in the file. Raises InputError where it is no mask of the result's size."""
        leaving.ask()
        name = self._found[frame]
        what = f"The known mask {name[:80]!r}"

        def check(width: int, height: int) -> None:
            if (height, width) != self._shape:
                raise InputError(
                    f"{what} is {width}x{height} but the video {self._shape[1]}x{self._shape[0]}: "
                    "give masks of the video's size."
                )

        image = self._archive.image(name, what, check)
        return np.zeros(self._shape, np.uint8) if _is_empty(image) else read_mask(image, *image.size).index


def _is_empty(image: Image.Image) -> bool:
    """Whether all is background, which a mask that a person gives may not be."""
    extremes = image.getextrema()
    bands = dict(zip(image.getbands(), extremes if isinstance(extremes[0], tuple) else (extremes,), strict=True))
    opaque = bands.pop("A", (0, 255))[1]
    return not opaque or not any(high for _, high in bands.values())


def _match_frames(found: Sequence[int], given: set[int]) -> list[int]:
    """The given frames, on which masks agree best, and some between them, on which other objects may be."""
    spread = np.linspace(0, len(found) - 1, min(_MATCH_FRAMES, len(found))).round().astype(int)
    return sorted({found[place] for place in spread} | (given & set(found)))


def _matching(predicted: Callable[[int], np.ndarray], masks: Truth, frames: Sequence[int]) -> dict[int, int]:
    """Id in the known masks -> object of the result, by their overlap on `frames`, the greatest first.

    Raises InputError where nothing overlaps.
    """
    shared = np.zeros((256, 256), np.int64)  # pixels by known id and object
    for frame in frames:
        pairs = masks.own(frame).astype(np.int64) * 256 + predicted(frame)
        shared += np.bincount(pairs.ravel(), minlength=65536).reshape(256, 256)
    union = shared.sum(1, keepdims=True) + shared.sum(0) - shared
    overlap = np.where(shared > 0, shared / np.maximum(union, 1), 0)[1:, 1:]
    matches: dict[int, int] = {}
    while overlap.any():
        known, ours = np.unravel_index(int(overlap.argmax()), overlap.shape)
        matches[int(known) + 1] = int(ours) + 1
        overlap[known], overlap[:, ours] = 0, 0
    if not matches:
        raise InputError(
            "No object of the known masks lies where one of the result's does: "
            "check that the masks belong to this video."
        )
    return matches


# Finding the files


class _Archive:
    """The masks of a ZIP by name, with folders; its table of contents is read once, and again after `close`, and one
    process decodes them, where another one does."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(f"There is no file {path.name!r}: {_HOW_TO}.")
        self._path = path
        self._zip: zipfile.ZipFile | None = None
        self.stills = StillReader()
        entries = self._open().infolist()
        if any(entry.flag_bits & 1 for entry in entries):
            raise InputError("The ZIP is encrypted: make one without a password.")
        masks = [entry for entry in entries if entry.filename.lower().endswith(".png")]
        self._entries = {entry.filename.replace("\\", "/"): entry for entry in masks}
        self.names = _masks_among(list(self._entries))

    def image(self, name: str, what: str, check: CheckSize) -> Image.Image:
        """One that `check` takes (see `xmem.video.stills.read_still`). Raises InputError."""
        return self.stills.read(io.BytesIO(self._read(name)), what, "give PNGs", check)

    def _read(self, name: str) -> bytes:
        """As much as a mask may have, whatever size the entry says that it has. Raises InputError."""
        try:
            with self._open().open(self._entries[name]) as file:
                data = file.read(MAX_BYTES + 1)
        except (*UNREADABLE, OSError) as error:
            raise InputError(f"{name[:80]!r} in the ZIP is damaged: make the ZIP again.") from error
        if len(data) > MAX_BYTES:
            raise InputError(f"{name[:80]!r} in the ZIP is too large for a mask: give PNGs.")
        return data

    def close(self) -> None:
        self.stills.close()
        if self._zip is not None:
            self._zip.close()
            self._zip = None

    def _open(self) -> zipfile.ZipFile:
        if self._zip is None:
            try:
                self._zip = open_zip(self._path, MAX_FILES)
            except TooManyFiles as error:
                raise InputError(f"The ZIP holds more than {MAX_FILES:,} files: {_HOW_TO}.") from error
            except (*UNREADABLE, OSError) as error:
                raise InputError(f"{self._path.name!r} is not a readable ZIP: {_HOW_TO}.") from error
        return self._zip


def _masks_among(names: Sequence[str]) -> list[str]:
    """Without what systems add, and of a whole data set only its masks. Raises InputError for none, or several sets."""
    names = [name for name in names if not any(part[0] in "._" for part in PurePosixPath(name).parts)]
    below = [name for name in names if set(MASK_FOLDERS) & set(PurePosixPath(name).parts[:-1])]
    names = below or names
    if not names:
        raise InputError(f"There are no PNG masks in it: {_HOW_TO}.")
    folders = sorted({str(PurePosixPath(name).parent) for name in names})
    if len(folders) > 1:
        raise InputError(
            f"The known masks lie in {len(folders)} folders ({', '.join(name[:80] for name in folders[:3])}): "
            "give those of one video."
        )
    return natsorted(names)


def _by_frame(files: Sequence[str], names: Sequence[str]) -> dict[int, str]:
    """Frame -> name of its mask. Raises InputError where no name fits."""
    stems = {PurePosixPath(name).stem: name for name in files}
    if len(stems) == len(names):
        return dict(enumerate(stems.values()))
    by_stem = {frame: stems[name] for frame, name in enumerate(names) if name in stems}
    by_number = {_number(stem): name for stem, name in stems.items()}
    numbers = [_number(name) for name in names]
    if None in numbers or len(set(numbers)) < len(numbers):
        numbers = list(range(len(names)))  # names that tell no number apart: frames count from 0
    found = by_stem or {frame: by_number[n] for frame, n in enumerate(numbers) if n in by_number}
    if not found:
        raise InputError(
            f"No known mask has a frame's name: they are called {next(iter(stems))!r} and so on, the frames "
            f"{names[0]!r} to {names[-1]!r}; {_HOW_TO}."
        )
    if len(found) < len(stems):
        log.info("%d of %d known masks belong to no frame.", len(stems) - len(found), len(stems))
    return found


def _number(stem: str) -> int | None:
    """The last number in a name."""
    digits = re.findall(r"\d+", stem)
    return int(digits[-1]) if digits else None
