"""What the page says, as HTML: the run's panel, the understood painting, status lines. Everything is escaped here."""

import base64
from html import escape
from pathlib import Path

import cv2
import numpy as np

from demo import style
from demo.tracking import Progress
from xmem.render.palette import OBJECT_COLORS

THUMBNAIL_WIDTH = 480

MASTHEAD = '<div class="masthead"><h1>XMem</h1><p>Paint an object once, follow it through the whole video.</p></div>'
WAITING_FOR_VIDEO = '<div class="waiting"><p>The first frame appears here, to paint on.</p></div>'
MEMORY_HEADING = '<p class="group">Memory, with the symbols of the XMem paper</p>'


def data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def thumbnail(image: np.ndarray, width: int = THUMBNAIL_WIDTH) -> str:
    """uint8 [H, W, 3] as a data address of a small JPEG."""
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return data_uri(data.tobytes())


def heading(number: int, title: str, hint: str) -> str:
    return (
        f'<div class="step-head"><span class="step-number" aria-hidden="true">{number}</span>'
        f"<h2>{escape(title)}</h2><p>{escape(hint)}</p></div>"
    )


def status_line(device: str, model: str) -> str:
    return f'<p class="status"><span class="dot" aria-hidden="true"></span>{escape(model)} on {escape(device)}</p>'


def legend() -> str:
    """The brush colours by name; a click picks the brush (see `ui.PICK_BRUSH`)."""
    swatches = "".join(
        f'<button type="button" class="swatch" data-index="{i}" style="--swatch:{color}" '
        f'aria-label="Paint with {name}"><i aria-hidden="true"></i>{name}</button>'
        for i, (name, color) in enumerate(OBJECT_COLORS)
    )
    return f'<div class="legend" role="group" aria-label="Brush colours, one per object">{swatches}</div>'


def message(text: str, kind: str = "note") -> str:
    """A sentence for the visitor; kind: "note", "good" or "bad" (spoken at once by screen readers)."""
    if not text:
        return ""
    role = "alert" if kind == "bad" else "status"
    return f'<p class="message {kind}" role="{role}">{escape(text)}</p>'


def of_video(text: str, frame: np.ndarray) -> str:
    """A line about the video whose first frame (uint8 [H, W, 3]) is on the canvas."""
    return style.frame_css(frame.shape[1], frame.shape[0]) + message(text, "good")


def understood(summary: str, note: str, picture: str) -> str:
    """The line that says what is painted, and a small picture of it."""
    if not summary:
        return '<div class="understood empty"><p role="status">Nothing is painted yet.</p></div>' + message(note)
    return (
        f'<div class="understood"><p role="status"><strong>{escape(summary)}</strong></p>'
        f'<img src="{picture}" alt="The first frame with what will be tracked tinted in its colour"></div>'
    ) + message(note)


def idle() -> str:
    return '<div class="run idle"><p>The result appears here.</p></div>'


def busy(text: str, share: float | None = None) -> str:
    """Something that has no frames yet; share: how much is done (0 to 1) where that is known."""
    return f'<div class="run"><div class="figures"><strong>{escape(text)}</strong></div>{_bar(share)}</div>'


def running(progress: Progress) -> str:
    total = f" of {progress.total}" if progress.total else ""
    share = min(1.0, progress.done / progress.total) if progress.total else None
    left = progress.seconds_left
    figures = [
        f"<strong>Frame {progress.done}{total}</strong>",
        f"<span>{rate(progress.frames_per_second)}</span>",
        f"<span>{duration(left)} left</span>" if left is not None else "",
    ]
    picture = (
        f'<img src="{data_uri(progress.preview)}" decoding="sync" alt="Preview of the latest frame">'
        if progress.preview
        else ""
    )
    return (
        f'<div class="run"><div class="figures">{"".join(figures)}</div>{_bar(share)}{picture}</div>'
        f"{message(progress.note, 'bad')}"
    )


def finished(progress: Progress, stopped: bool) -> str:
    frames = "frame" if progress.done == 1 else "frames"
    said = f"Done: {progress.done} {frames}"
    if stopped:
        of = f" of {progress.total} frames" if progress.total else f" {frames}"
        said = f"Stopped after {progress.done}{of}; these are kept"
    return (
        f'<div class="run done"><div class="figures"><strong>{said}</strong>'
        f"<span>{rate(progress.frames_per_second)}</span><span>{duration(progress.seconds)}</span>"
        f"<span>{escape(Path(progress.model).stem)}</span></div></div>{message(progress.note, 'bad')}"
    )


def failed(sentence: str) -> str:
    return f'<div class="run failed">{message(sentence, "bad")}</div>'


def rate(frames_per_second: float) -> str:
    return f"{frames_per_second:.1f} frames/s" if frames_per_second < 100 else f"{frames_per_second:.0f} frames/s"


def duration(seconds: float) -> str:
    """Seconds for people: "8 s", "2 min 5 s", "1 h 12 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _bar(share: float | None) -> str:
    if share is None:
        return '<div class="bar unknown" role="progressbar" aria-label="Progress"><i></i></div>'
    return (
        f'<div class="bar" role="progressbar" aria-label="Progress" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{100 * share:.0f}"><i style="width:{100 * share:.1f}%"></i></div>'
    )
