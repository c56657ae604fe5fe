"""Small pictures and masks of a session's frames, for a page that shows many of them a second, in chunks of frames.

Pictures are made when they are first asked for, and kept in the session's folder; masks are coded as runs.
"""

import base64
import hashlib
import json
import os
import secrets
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from demo.html import pictures
from xmem.session import Session

CHUNK = 32  # frames
SIDE = 640  # pixels of the longer side
QUALITY = 72
ON_THE_WAY = 2  # chunks that are made together, since decoding begins at a key picture
_MAKING = threading.Semaphore(2)  # of all visitors


def about(session: Session) -> dict[str, Any]:
    """What a page has to know to ask for them. token: the name of the session's folder."""
    width, height = size_of(session)
    token = session.folder.parent.name
    return {"token": token, "count": session.frame_count, "chunk": CHUNK, "width": width, "height": height}


def size_of(session: Session) -> tuple[int, int]:
    """(width, height) of the small pictures and masks."""
    width, height = session.info.width, session.info.height
    scale = min(1.0, SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def frames_of(session: Session, chunk: int) -> range:
    """The frames of a chunk, counted from 0."""
    return range(chunk * CHUNK, min(session.frame_count, (chunk + 1) * CHUNK))


def pictures_of(session: Session, chunk: int) -> list[str]:
    """The pictures of a chunk as JPEG in base64."""
    path = _kept(session, chunk)
    if not path.exists():
        with _MAKING:
            if not path.exists():  # another page of the session may have asked as well
                _make(session, chunk)
    return json.loads(path.read_text())


def _make(session: Session, chunk: int) -> None:
    """Make a chunk, and the next one with it where it is not there yet."""
    width, _ = size_of(session)
    with session.access() as access:
        for each in range(chunk, chunk + ON_THE_WAY):
            frames, path = frames_of(session, each), _kept(session, each)
            if not frames or path.exists():
                return
            path.parent.mkdir(exist_ok=True)
            made = [
                base64.b64encode(pictures.jpeg(frame.image, width, QUALITY)).decode()
                for frame in access.forward(frames[0], frames[-1])
            ]
            part = path.with_suffix(f".{secrets.token_hex(4)}")
            part.write_text(json.dumps(made))
            os.replace(part, path)


def _kept(session: Session, chunk: int) -> Path:
    return session.folder.parent / "reel" / f"{chunk}.json"


def masks_of(session: Session, chunk: int, known: dict[str, Any]) -> tuple[dict[str, list[str]], list[int]]:
    """({frame as text: [version, runs in base64]} of the chunk's masks, frames that have none).

    known: versions by frame (as text) that need not be sent again.
    """
    versions, size = session.mask_stamps(), size_of(session)
    found, none = {}, []
    for frame in frames_of(session, chunk):
        version = versions[frame]
        if version is None:
            none.append(frame)
        elif known.get(str(frame)) != version:
            small = cv2.resize(session.mask(frame), size, interpolation=cv2.INTER_NEAREST)
            found[str(frame)] = [version, base64.b64encode(runs(small)).decode()]
    return found, none


def digests(session: Session) -> list[str]:
    """A short text for each chunk that changes when one of its masks does."""
    versions = session.mask_stamps()
    starts = range(0, session.frame_count, CHUNK)
    return [hashlib.sha256(repr(versions[start : start + CHUNK]).encode()).hexdigest()[:12] for start in starts]


def runs(mask: np.ndarray) -> bytes:
    """An index mask uint8 [h, w] row by row: per run its id, then its length in groups of 7 bits, lowest first, with
    bit 7 set where another follows."""
    flat = mask.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(np.concatenate([starts, [flat.size]]))
    groups = np.stack([lengths >> (7 * place) for place in range(5)], axis=1)  # [N, 5]
    used = groups > 0  # the lowest one of every run, since a length of 128 leaves it 0
    used[:, 0] = True
    more = np.concatenate([used[:, 1:], np.zeros((len(lengths), 1), bool)], axis=1)
    coded = (groups & 127) | (more * 128)
    rows = np.concatenate([flat[starts][:, None].astype(np.int64), coded], axis=1)
    kept = np.concatenate([np.ones((len(lengths), 1), bool), used], axis=1)
    return rows[kept].astype(np.uint8).tobytes()
