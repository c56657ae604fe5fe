"""The kinds of export, and the one function that makes them."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from xmem.errors import InputError
from xmem.export import animations, pictures, tables, videos
from xmem.export.source import ExportProgress, ExportSource, visible_objects


@dataclass(frozen=True)
class ExportKind:
    """label, description: for people. suffix: what is put behind the stem of the file's name.

    write: makes the file and yields once per frame of the source. needs_objects: whether it is empty without a visible
    object.
    """

    label: str
    suffix: str
    description: str
    write: Callable[[ExportSource, Path], Generator[None, None, None]]
    needs_objects: bool = True


_SMALL = f"at most {animations.MAX_SIDE} pixels on the shorter side and {animations.MAX_RATE} frames per second"

EXPORTS: dict[str, ExportKind] = {
    "overlay": ExportKind(
        "Overlay video (MP4)",
        "-overlay.mp4",
        "The video in the chosen style, H.264 with the original's sound and timing. Plays everywhere.",
        videos.write_overlay,
        needs_objects=False,
    ),
    "index_png": ExportKind(
        "Index masks (PNG)",
        "-masks.zip",
        "One palette PNG per frame as in DAVIS: a pixel's value is the object's id, 0 the background.",
        pictures.write_index_pngs,
    ),
    "binary_png": ExportKind(
        "Masks per object (PNG)",
        "-objects.zip",
        "A folder per object with one black and white PNG per frame.",
        pictures.write_binary_pngs,
    ),
    "matte": ExportKind(
        "Matte video (MP4)",
        "-matte.mp4",
        "All visible objects together, white on black with soft edges, H.264 without sound; to get one object's matte, "
        "hide the others.",
        videos.write_matte,
    ),
    "webm_alpha": ExportKind(
        "Transparent video (WebM)",
        "-cutout.webm",
        "The visible objects on a transparent background with soft edges and sound, VP9: for web pages (Chrome, Edge, "
        "Firefox) and OBS.",
        videos.write_webm,
    ),
    "prores_4444": ExportKind(
        "Transparent video (ProRes)",
        "-cutout.mov",
        "The visible objects with soft edges as straight alpha, 10 bits of colour, with sound: for editors such as "
        "Final Cut, Premiere, Resolve and After Effects. Large files.",
        videos.write_prores,
    ),
    "rgba_png": ExportKind(
        "Cut-outs (PNG)",
        "-cutout.zip",
        "One transparent PNG per frame with the visible objects and soft edges.",
        pictures.write_rgba_pngs,
    ),
    "gif": ExportKind(
        "Animation (GIF)",
        "-overlay.gif",
        f"The video in the chosen style, {_SMALL}; without sound. For short clips.",
        animations.write_gif,
        needs_objects=False,
    ),
    "webp": ExportKind(
        "Animation (WebP)",
        "-overlay.webp",
        f"The video in the chosen style, {_SMALL}; without sound. Smaller and finer than a GIF.",
        animations.write_webp,
        needs_objects=False,
    ),
    "coco": ExportKind(
        "COCO annotations (JSON)",
        "-coco.json",
        "Masks as compressed run lengths with boxes and areas, frames as images, objects as categories and tracks.",
        tables.write_coco,
    ),
    "csv": ExportKind(
        "Table (CSV)",
        "-objects.csv",
        "Per frame and object: time, name, box, area, centroid, certainty.",
        tables.write_csv,
    ),
}


def export(kind: str, source: ExportSource, folder: str | Path, stem: str) -> Generator[ExportProgress, None, Path]:
    """Write one export of `source` to `folder`; yield after each frame, and return the file's path.

    kind: a key of EXPORTS. stem: how the file's name begins. The first frame of the range is at time 0. The file has
    its name only once it is complete; closing the generator, or a failure, leaves nothing. Memory does not grow with
    the number of frames. Raises InputError where the kind is unknown, nothing is visible, or the disk is full.
    """
    if kind not in EXPORTS:
        raise InputError(f"There is no export {kind!r}: choose one of {', '.join(EXPORTS)}.")
    chosen = EXPORTS[kind]
    if chosen.needs_objects and not visible_objects(source):
        raise InputError("There is no visible object to export: show or paint at least one.")
    if Path(stem).name != stem or not stem:
        raise ValueError(f"{stem!r} is no name for a file.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as unfinished:
        path = Path(unfinished) / f"export{Path(chosen.suffix).suffix}"
        try:
            with closing(chosen.write(source, path)) as steps:
                for done, _ in enumerate(steps, start=1):
                    yield ExportProgress(done, source.last - source.first + 1)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise InputError("The disk is full: free some space and export again.") from error
        target = folder / f"{stem}{chosen.suffix}"
        os.replace(path, target)
    return target
