"""What the page says, as HTML: facts, messages, the run's panel, lists of frames. Everything is escaped here."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from demo.html.progress import Progress
from xmem.review.preflight import Estimate

MASTHEAD = '<div class="masthead"><h1>XMem</h1><p>Paint an object once, follow it through the whole video.</p></div>'
TIMING = '<p class="estimate" role="status">Timing a few frames…</p>'
KEEP = (
    '<p class="keep">The new masks agree with the old ones. '
    '<button type="button" data-keep>Stop, keep the rest</button></p>'
)


def heading(title: str) -> str:
    return f'<h2 class="heading">{escape(title)}</h2>'


def status_line(device: str, model: str) -> str:
    return f'<p class="status"><span class="dot" aria-hidden="true"></span>{escape(model)} on {escape(device)}</p>'


def message(text: str, kind: str = "note") -> str:
    """A sentence for the visitor; kind: "note", "good" or "bad" (spoken at once by screen readers)."""
    if not text:
        return ""
    role = "alert" if kind == "bad" else "status"
    return f'<p class="message {kind}" role="{role}">{escape(text)}</p>'


def offer(what: str) -> str:
    """A button beside a refusal of what is too much, for what is allowed of it."""
    return f'<button type="button" class="offer" data-part>{escape(what)}</button>'


def fitting(share: float | None) -> str:
    """A video is made smaller, or its beginning is taken; share: how much is done (0 to 1), where that is known."""
    said = "Opening…" if share is None else f"Making it smaller: {100 * share:.0f} %"
    bar, stop = _bar(share), '<button type="button" data-halt>Stop</button>'
    return f'<div class="fitting" role="status"><strong>{said}</strong>{bar}{stop}</div>'


def hint(text: str) -> str:
    """What is good to know, small."""
    return f'<p class="hint">{escape(text)}</p>'


def accuracy(text: str) -> str:
    """What to expect of a model, beside its choice."""
    return f'<p class="accuracy" role="note">{escape(text)}</p>'


def facts(parts: Sequence[str]) -> str:
    """What a video is, as a row of small labels."""
    labels = "".join(f"<li>{escape(part)}</li>" for part in parts)
    return f'<ul class="facts" aria-label="About the video">{labels}</ul>'


def estimate(found: Estimate) -> str:
    """What a run is expected to take."""
    memory = f" and <strong>{size(found.peak_bytes)}</strong> of memory" if found.peak_bytes else ""
    return (
        f'<p class="estimate" role="status">A run takes about <strong>{about(found.seconds)}</strong>{memory}. '
        f"{escape(found.reason)}</p>"
    )


def about(seconds: float) -> str:
    """Seconds that were estimated, as the range in which they may well lie: "8 to 13 s", "2 to 3 min"."""
    low, high = 0.8 * seconds, 1.3 * seconds
    for unit, name in ((3600, "h"), (60, "min"), (1, "s")):
        if low >= 1.5 * unit or unit == 1:
            ends = max(1, round(low / unit)), max(1, round(high / unit))
            return f"{ends[0]} to {ends[1]} {name}" if ends[1] > ends[0] else f"{ends[0]} {name}"
    raise AssertionError("the last unit fits")


def key_frames(pictures: Sequence[tuple[int, str]]) -> str:
    """Key frames as small pictures: a click goes there, the cross removes. pictures: (frame, data address)."""
    if not pictures:
        return ""
    items = "".join(
        f'<li><button type="button" class="k-go" data-go="{frame}" aria-label="Go to key frame {frame + 1}">'
        f'<img src="{picture}" alt=""><span>Frame {frame + 1}</span></button>'
        f'<button type="button" class="k-remove" data-remove="{frame}" aria-label="Remove key frame {frame + 1}" '
        f'title="Remove this key frame">×</button></li>'
        for frame, picture in pictures
    )
    return f'<div class="keys"><p>Key frames</p><ul aria-label="Key frames">{items}</ul></div>'


def worth_checking(frames: Sequence[tuple[int, int, str, str]]) -> str:
    """Frames worth a look as buttons. frames: (frame, object's id, reason, data address of a picture)."""
    if not frames:
        return '<p class="group">Nothing looks doubtful.</p>'
    items = "".join(
        f'<li><button type="button" data-frame="{frame}"><img src="{picture}" alt="">'
        f"<span><b>Frame {frame + 1}</b>{escape(reason)}</span></button>"
        f'<button type="button" class="fine" data-fine="{frame}" data-object="{i}" title="Do not suggest it again" '
        f'aria-label="Frame {frame + 1} looks fine">Looks fine</button></li>'
        for frame, i, reason, picture in frames
    )
    title = "Frames worth checking"
    return f'<p class="group">{title}</p><ul class="worth" aria-label="{title}">{items}</ul>'


def waiting(text: str) -> str:
    """The line beside Run."""
    return f'<p class="pending" role="status">{escape(text)}</p>' if text else ""


def busy(text: str, share: float | None = None) -> str:
    """Something that has no frames yet; share: how much is done (0 to 1) where that is known."""
    return f'<div class="run"><div class="figures"><strong>{escape(text)}</strong></div>{_bar(share)}</div>'


def waits(progress: Progress) -> str:
    """A run whose turn has not come: how many are before it, and how long that should take."""
    before = "another run is" if progress.ahead == 1 else f"{progress.ahead} runs are"
    known = progress.wait_seconds is not None
    return busy(f"Waiting: {before} first{f', about {duration(progress.wait_seconds)}' if known else ''}.")


def running(progress: Progress) -> str:
    total = f" of {progress.total}" if progress.total else ""
    share = min(1.0, progress.done / progress.total) if progress.total else None
    left = progress.seconds_left
    figures = [
        f"<strong>Frame {progress.done}{total}</strong>",
        f"<span>{rate(progress.frames_per_second)}</span>",
        f"<span>{duration(left)} left</span>" if left is not None else "",
    ]
    return (
        f'<div class="run"><div class="figures">{"".join(figures)}</div>{_bar(share)}{KEEP if progress.agrees else ""}'
        f"</div>{message(progress.note, 'bad')}"
    )


def rendering(progress: Progress | None, stopped: bool, done: int, total: int) -> str:
    """The result video is being written; what the run did is said already."""
    share = min(1.0, done / total) if total else None
    text = f"Writing the video: {done} of {total}" if total else "Writing the video…"
    line = f'<div class="figures"><span>{text}</span></div>{_bar(share)}'
    return f'<div class="run done">{_figures(progress, stopped) if progress else ""}{line}</div>'


def finished(progress: Progress | None, stopped: bool) -> str:
    """What the latest run did; progress is None where that is not known."""
    if progress is None:
        return ""
    return f'<div class="run done">{_figures(progress, stopped)}</div>{message(progress.note, "bad")}'


def _figures(progress: Progress, stopped: bool) -> str:
    frames = "frame" if progress.done == 1 else "frames"
    said = f"Done: {progress.done} {frames}"
    if stopped:
        of = f" of {progress.total} frames" if progress.total else f" {frames}"
        said = f"Stopped after {progress.done}{of}; these are kept"
    took = duration(progress.seconds)
    if progress.estimate and not stopped:
        took = f"estimated {duration(progress.estimate)}, took {took}"
    return (
        f'<div class="figures"><strong>{said}</strong>'
        f"<span>{rate(progress.frames_per_second)}</span><span>{took}</span>"
        f"<span>{escape(short(progress.model))}</span></div>"
    )


def kept() -> str:
    """A correction was carried no further than its frame."""
    return '<div class="run done"><div class="figures"><strong>The other frames stay as they were</strong></div></div>'


def failed(sentence: str) -> str:
    return f'<div class="run failed">{message(sentence, "bad")}</div>'


def short(model: str) -> str:
    """A checkpoint's name without folder and suffix."""
    return Path(model).stem


def rate(frames_per_second: float) -> str:
    return f"{frames_per_second:.1f} frames/s" if frames_per_second < 100 else f"{frames_per_second:.0f} frames/s"


def duration(seconds: float) -> str:
    """Seconds of waiting for people: "8 s", "2 min 5 s", "1 h 12 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(count: float) -> str:
    """Bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _bar(share: float | None) -> str:
    if share is None:
        return '<div class="bar unknown" role="progressbar" aria-label="Progress"><i></i></div>'
    return (
        f'<div class="bar" role="progressbar" aria-label="Progress" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{100 * share:.0f}"><i style="width:{100 * share:.1f}%"></i></div>'
    )
