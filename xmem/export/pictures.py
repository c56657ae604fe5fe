"""Pictures per frame, in a ZIP that is written as they are made; PNGs are stored, since they are compressed already."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Generator
from pathlib import Path

import cv2
import numpy as np

from xmem.export.source import ExportSource, cut_out, plain_name, visible_objects
from xmem.render.masks import write_index_mask


def write_index_pngs(source: ExportSource, path: Path) -> Generator[None, None, None]:
    """`NAME.png`: ids with the DAVIS palette."""
    with zipfile.ZipFile(path, "w") as archive:
        for tracked in source.frames():
            data = io.BytesIO()
            write_index_mask(data, tracked.mask)
            _add(archive, f"{plain_name(tracked.frame.name)}.png", data.getvalue())
            yield


def write_binary_pngs(source: ExportSource, path: Path) -> Generator[None, None, None]:
    """`ID-OBJECT/NAME.png`: 255 where the object is, 0 elsewhere, 8 bits of grey."""
    objects = [(item.id, plain_name(f"{item.id}-{item.name}")) for item in visible_objects(source)]
    with zipfile.ZipFile(path, "w") as archive:
        for tracked in source.frames():
            for object_id, folder in objects:
                mask = cv2.inRange(tracked.mask, object_id, object_id)
                _add(archive, f"{folder}/{plain_name(tracked.frame.name)}.png", _png(mask))
            yield


def write_rgba_pngs(source: ExportSource, path: Path) -> Generator[None, None, None]:
    """`NAME.png`: the visible objects with straight alpha."""
    ids = [item.id for item in visible_objects(source)]
    with zipfile.ZipFile(path, "w") as archive:
        for tracked in source.frames():
            picture = cv2.cvtColor(cut_out(tracked, ids), cv2.COLOR_RGBA2BGRA)
            _add(archive, f"{plain_name(tracked.frame.name)}.png", _png(picture))
            yield


def _png(image: np.ndarray) -> bytes:
    """uint8 [H, W] grey, [H, W, 4] BGRA."""
    return cv2.imencode(".png", image)[1].tobytes()


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name), data)
