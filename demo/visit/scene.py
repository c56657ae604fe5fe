"""A session as the painter's script takes it, and what the script sends back."""

import base64
import io
import uuid
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import xmem
from demo.html import pictures
from demo.visit import reel
from xmem.render.palette import OBJECT_COLORS
from xmem.session import Session
from xmem.video.stills import read_still

PICTURE_SIDE = 1920  # pixels
THUMBNAIL_WIDTH = 176
TINT = 0.5

RGB = np.array([[int(code[i : i + 2], 16) for i in (1, 3, 5)] for _, code in OBJECT_COLORS], np.uint8)  # [8, 3]


def of_frame(session: Session, frame: int, ack: int | None = None, **more: Any) -> dict[str, Any]:
    """A whole scene: the picture of `frame`, its mask without hidden objects, and all that `of_state` tells.

    more: note (a sentence) with kind ("note", "good", "bad").
    """
    with session.access() as access:
        found = access.frame(frame)
    height, width = found.image.shape[:2]
    return of_state(session, frame, ack, **more) | {
        "token": uuid.uuid4().hex[:12],
        "width": width,
        "height": height,
        "time": float(found.time),
        "image": pictures.jpeg_uri(pictures.jpeg(_shown(found.image), quality=pictures.CANVAS_QUALITY)),
        "mask": pictures.mask_uri(visible(session, session.mask(frame))),
    }


def _shown(image: np.ndarray) -> np.ndarray:
    """The picture at a size that screens show; what is painted keeps the video's own."""
    height, width = image.shape[:2]
    scale = PICTURE_SIDE / max(width, height)
    if scale >= 1:
        return image
    return cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)


def of_state(session: Session, frame: int, ack: int | None = None, **more: Any) -> dict[str, Any]:
    """A scene without pictures: the canvas keeps what it shows."""
    return {
        "ack": ack or uuid.uuid4().hex,
        "frame": frame,
        "frames": session.frame_count,
        "first": session.first,
        "last": session.last,
        "rate": float(session.info.rate),
        "reel": reel.about(session),
        "edit": session.edit_stamp,
        "keys": [key.frame for key in session.key_frames],
        "palette": OBJECT_COLORS,
        "objects": [
            {"id": item.id, "name": item.name, "color": item.color, "visible": item.visible} for item in session.objects
        ],
        "next": session.next_object,
        "is_key": any(key.frame == frame for key in session.key_frames),
        "is_computed": session.has_result(frame) and all(key.frame != frame for key in session.key_frames),
        "can_undo": session.can_undo,
        "can_redo": session.can_redo,
        **more,
    }


def visible(session: Session, mask: np.ndarray) -> np.ndarray:
    """An index mask uint8 [H, W] without the objects that are hidden."""
    hidden = [item.id for item in session.objects if not item.visible]
    return np.where(np.isin(mask, hidden), 0, mask).astype(np.uint8) if hidden else mask


def with_hidden(session: Session, frame: int, mask: np.ndarray) -> np.ndarray:
    """What was painted, and below it the objects that are hidden, as they are on `frame`."""
    hidden = [item.id for item in session.objects if not item.visible]
    if not hidden:
        return mask
    present = session.mask(frame)
    return np.where((mask == 0) & np.isin(present, hidden), present, mask).astype(np.uint8)


def read_painting(png_uri: str, width: int, height: int) -> np.ndarray:
    """The index mask uint8 [H, W] that the script sends as a PNG. Raises InputError for anything else."""
    try:
        head, data = png_uri.split(",", 1)
        if head != "data:image/png;base64":
            raise ValueError(head)
        png = io.BytesIO(base64.b64decode(data, validate=True))
    except (ValueError, AttributeError) as error:
        raise xmem.InputError("The painting arrived in a form that cannot be read: paint it again.") from error

    def check(*size: int) -> None:
        if size != (width, height):
            raise xmem.InputError(
                f"The painting is {size[0]}x{size[1]}, and the video {width}x{height}: paint it again."
            )

    return np.array(read_still(png, "The painting", "paint it again", check).convert("RGB"))[..., 0]


def tinted(session: Session, image: np.ndarray, mask: np.ndarray, opacity: float = TINT) -> np.ndarray:
    """image uint8 [H, W, 3] with the objects of an index mask uint8 [H, W] in their colours."""
    palette = np.zeros((256, 3), np.uint8)
    for item in session.objects:
        palette[item.id] = RGB[item.color % len(RGB)]
    mixed = cv2.addWeighted(image, 1 - opacity, palette[mask], opacity, 0)
    return np.where((mask > 0)[..., None], mixed, image)


def thumbnail(session: Session, frame: int, width: int = THUMBNAIL_WIDTH) -> str:
    """A small picture of a frame with its mask, as a data address; kept on disk while nothing on it changes."""
    mask = visible(session, session.mask(frame))
    colours = [(item.id, item.color) for item in session.objects]
    name = f"{frame}-{width}-{hash((mask.tobytes(), tuple(colours))) & 0xFFFFFFFFFFFF:x}.jpg"
    kept = _thumbnails(session) / name
    if not kept.exists():
        image = session.image(frame)
        size = (width, max(1, round(image.shape[0] * width / image.shape[1])))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
        for old in kept.parent.glob(f"{frame}-{width}-*.jpg"):
            old.unlink(missing_ok=True)
        kept.write_bytes(pictures.jpeg(tinted(session, image, mask)))
    return pictures.jpeg_uri(kept.read_bytes())


def _thumbnails(session: Session) -> Path:
    folder = session.folder.parent / "thumbnails"
    folder.mkdir(exist_ok=True)
    return folder
