"""Numbers and outlines as text: COCO JSON and CSV, written row by row."""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from xmem.export.rle import encode
from xmem.export.source import ExportSource, visible_objects
from xmem.render.tracked import TrackedFrame

CSV_COLUMNS = (
    "frame",
    "time",
    "source_time",
    "object",
    "name",
    "x",
    "y",
    "width",
    "height",
    "area",
    "centroid_x",
    "centroid_y",
    "certainty",
)

_FORMULA = tuple("=+-@＝＋－＠")  # what begins a formula, in full width, too


@dataclass(frozen=True)
class _Shape:
    """box: x, y, width, height; centroid: x, y of pixel centres, where the first pixel's is 0; area: pixels."""

    box: tuple[int, int, int, int]
    centroid: tuple[float, float]
    area: int


def write_csv(source: ExportSource, path: Path) -> Generator[None, None, None]:
    """One row per frame and visible object, in UTF-8.

    frame: its number in the whole video; time: seconds from the first exported frame; source_time: from the video's.
    Lengths are pixels; box and centroid are empty where the object is not seen, certainty where nothing was computed.
    A name that a spreadsheet would take for a formula has an apostrophe before it.
    """
    objects = visible_objects(source)
    origin: Fraction | None = None
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(CSV_COLUMNS)
        for tracked in source.frames():
            frame = tracked.frame
            origin = frame.time if origin is None else origin
            times = [f"{float(time):.6f}" for time in (frame.time - origin, frame.time)]
            for item in objects:
                shape = _shape(tracked.mask, item.id)
                certainty = tracked.certainty.get(item.id)
                figures = [*shape.box, shape.area, *shape.centroid] if shape else ["", "", "", "", 0, "", ""]
                table.writerow([frame.index, *times, item.id, plain_text(item.name), *figures, _text(certainty)])
            yield


def write_coco(source: ExportSource, path: Path) -> Generator[None, None, None]:
    """COCO's instances with the additions of its video variants.

    videos: one; images: one per frame, with its place in the video; categories: one per visible object, by its name;
    annotations: one per frame and object that is seen, track_id being the object's id, score its certainty.
    """
    info, objects = source.info, visible_objects(source)
    video = {"id": 1, "name": path.stem, "width": info.width, "height": info.height}
    categories = [{"id": item.id, "name": item.name, "supercategory": "object"} for item in objects]
    with open(path, "w", encoding="utf-8") as file, tempfile.TemporaryFile("w+", encoding="utf-8") as annotations:
        head = {"info": {"description": "Objects followed by XMem"}, "licenses": [], "videos": [video]}
        file.write(json.dumps(head)[:-1] + f', "categories": {json.dumps(categories)}, "images": [')
        written = 0
        for number, tracked in enumerate(source.frames(), start=1):
            file.write((",\n" if number > 1 else "\n") + json.dumps(_image(tracked, number, source)))
            for item in objects:
                shape = _shape(tracked.mask, item.id)
                if shape is not None:
                    written += 1
                    values = _annotation(tracked, item.id, shape) | {"id": written, "image_id": number}
                    annotations.write((",\n" if written > 1 else "\n") + json.dumps(values))
            yield
        file.write('\n], "annotations": [')
        annotations.seek(0)
        shutil.copyfileobj(annotations, file)
        file.write("\n]}\n")


def _image(tracked: TrackedFrame, number: int, source: ExportSource) -> dict:
    frame, info = tracked.frame, source.info
    return {
        "id": number,
        "video_id": 1,
        "file_name": f"{frame.name}.png",
        "width": info.width,
        "height": info.height,
        "frame_index": frame.index,
        "time": round(float(frame.time), 6),
    }


def _annotation(tracked: TrackedFrame, object_id: int, shape: _Shape) -> dict:
    mask = tracked.mask == object_id
    height, width = mask.shape
    values = {
        "video_id": 1,
        "track_id": object_id,
        "category_id": object_id,
        "iscrowd": 0,
        "area": shape.area,
        "bbox": list(shape.box),
        "segmentation": {"size": [height, width], "counts": encode(mask)},
    }
    certainty = tracked.certainty.get(object_id)
    return values if certainty is None else values | {"score": round(float(certainty), 4)}


def _shape(index: np.ndarray, object_id: int) -> _Shape | None:
    """Of an object in an index mask uint8 [H, W]; None where it is not seen."""
    mask = cv2.inRange(index, object_id, object_id)
    x, y, width, height = cv2.boundingRect(mask)
    if width == 0:
        return None
    moments = cv2.moments(mask[y : y + height, x : x + width], binaryImage=True)
    area = moments["m00"]
    centroid = (round(x + moments["m10"] / area, 2), round(y + moments["m01"] / area, 2))
    return _Shape((x, y, width, height), centroid, round(area))


def plain_text(name: str) -> str:
    """A cell that no spreadsheet computes: a name may come from a stranger."""
    return f"'{name}" if name.lstrip()[:1] in _FORMULA else name


def _text(certainty: float | None) -> str:
    return "" if certainty is None else f"{certainty:.4f}"
