"""The report as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xmem.benchmark.results import GROUPS, Report, Row, Sample

FLAT_FROM = 2000  # frames from which a row with a speed says how memory grew, too
MEGA = 1e6
NAMES = ("model", "size", "objects", "frames", "precision", "long-term")  # of a row's first cells


def table(report: Report) -> str:
    """The machine, then what was measured: speeds, memory against length, memory over long runs."""
    parts = ["\n".join(heading(report.machine))]
    for title, header, lines in (
        _speeds(report.rows),
        _sampled(report.rows),
        _lengths(report.rows),
        _flat(report.rows),
    ):
        if lines:
            parts.append("\n".join([title, *_aligned([header, *lines])]))
    failures = [f"{row.case.label()}: {row.error}" for row in report.rows if row.error]
    if failures:
        parts.append("\n".join(["Not measured to the end", *failures]))
    return "\n\n".join(parts)


def heading(machine: dict) -> list[str]:
    """Hardware, software and the measured peaks."""
    cores = f"{machine['cores']} core{'s' * (machine['cores'] != 1)}"
    peaks = (f"{max(speeds.values()):,.0f} in {name}" for name, speeds in machine["peaks"].items())
    return [
        f"{machine['processor']}, {cores}; {machine['device']}; torch {machine['torch']}, {machine['system']}",
        f"Measured peak of matrix products and convolutions, GFLOP/s: {', '.join(peaks)}",
    ]


def _speeds(rows: Sequence[Row]) -> tuple[str, list[str], list[list[str]]]:
    title = (
        "Speed, after warm-up. net+mem: frames/s of network and memory; file to file: frames/s from H.264 to H.264; "
        "start, peak, growth: memory\nof the process before the network is loaded, at most, and after warm-up; GFLOP: "
        "of a frame by direct convolution; of peak: done per second,\nagainst the machine's best; last: shares of a "
        "frame's time, stage by stage"
    )
    header = [*NAMES, "net+mem", "file to file", "start MB", "peak MB", "growth", "GFLOP", "of peak", *GROUPS]
    timed = [row for row in rows if row.whole and row.engine]
    return title, header, [_speed(row) for row in timed]


def _speed(row: Row) -> list[str]:
    assert row.engine is not None and row.whole is not None
    shares = [f"{row.shares[group]:.0%}" if row.shares else "-" for group in GROUPS]
    return [
        *_names(row),
        _number(row.engine.fps),
        _number(row.whole.fps),
        _megabytes(row.start_bytes),
        _megabytes(row.peak_bytes),
        _megabytes(row.growth_bytes),
        _number(row.gflop),
        "-" if row.of_peak is None else f"{row.of_peak:.0%}",
        *shares,
    ]


def _names(row: Row) -> list[str]:
    case = row.case
    model = f"{case.model} (random weights)" if row.weights == "random" else case.model
    return [
        model,
        str(case.size),
        str(case.objects),
        f"{case.frames:,}",
        case.precision,
        "on" if case.long_term else "off",
    ]


def _sampled(rows: Sequence[Row]) -> tuple[str, list[str], list[list[str]]]:
    """A line for each model: at each length, frames per second and MB."""
    found: dict[tuple[str, ...], dict[int, Row]] = {}
    for row in rows:
        if row.is_sampled:
            model, size, objects, _, precision, _ = _names(row)
            found.setdefault((model, size, objects, precision), {})[row.case.frames] = row
    marks = sorted({frames for by_length in found.values() for frames in by_length})
    title = (
        "Speed and memory over length: frames/s of network and memory after so many frames (and MB in the memories);\n"
        "on a CPU, frames per second of processor time, of all cores together"
    )
    header = ["model", "size", "objects", "precision", *(f"at {mark:,}" for mark in marks)]
    return title, header, [[*names, *(_late(held.get(mark)) for mark in marks)] for names, held in found.items()]


def _late(row: Row | None) -> str:
    if row is None or row.engine is None:
        return "-"
    return f"{_number(row.engine.fps)} ({(row.engine.course[-1].element_bytes or 0) / MEGA:,.1f})"


def _lengths(rows: Sequence[Row]) -> tuple[str, list[str], list[list[str]]]:
    chosen = [(row, row.engine.course) for row in rows if is_course(row) and row.engine]
    if not chosen:
        return "", [], []
    marks = _marks(max(course[-1].frame for _, course in chosen))
    header = [*NAMES, *(f"at {mark:,}" for mark in marks)]
    lines = [[*_names(row), *(_held(course, mark) for mark in marks)] for row, course in chosen]
    return "Memory against length: elements remembered (and their MB) after so many frames", header, lines


def _held(course: Sequence[Sample], mark: int) -> str:
    sample = sample_at(course, mark)
    if sample is None or sample.elements is None or sample.element_bytes is None:
        return "-"
    return f"{sample.elements:,} ({sample.element_bytes / MEGA:,.1f})"


def _marks(last: int) -> list[int]:
    """100, 300, 1,000 ... and the last frame."""
    steps = (factor * 10**power for power in range(1, 7) for factor in (1, 3))
    return [*(step for step in steps if 100 <= step < last), last]


def sample_at(course: Sequence[Sample], frame: int) -> Sample | None:
    """The sample nearest to a frame, if there is one within a twentieth of it."""
    nearest = min(course, key=lambda sample: abs(sample.frame - frame))
    return nearest if abs(nearest.frame - frame) <= frame / 20 else None


def _flat(rows: Sequence[Row]) -> tuple[str, list[str], list[list[str]]]:
    header = [*NAMES, "file to file", "MB at a tenth", "highest after", "growth"]
    long = [(row, row.whole) for row in rows if row.whole is not None and is_long_run(row)]
    lines = [[*_names(row), _number(whole.fps), *_flatness(whole.course)] for row, whole in long]
    return "Memory of the process over a whole run, file to file", header, lines


def is_course(row: Row) -> bool:
    """Whether the row is there to show how the memories grow over a clip that was run through."""
    return bool(row.engine and not row.whole and not row.is_sampled and row.engine.course)


def is_long_run(row: Row) -> bool:
    """Whether the row is there to show how the process's memory grows, or may as well."""
    return row.whole is not None and (row.engine is None or row.case.frames >= FLAT_FROM)


def _flatness(course: Sequence[Sample]) -> list[str]:
    early, latest = settled(course)
    if early is None or latest is None:
        return ["-", "-", "-"]
    return [_megabytes(early), _megabytes(latest), f"{(latest - early) / MEGA:+.1f} MB, {latest / early - 1:+.1%}"]


def settled(course: Sequence[Sample]) -> tuple[int | None, int | None]:
    """The process's bytes after a tenth of the frames, and the most after that; None where not told."""
    start = next((i for i, sample in enumerate(course) if sample.frame >= course[-1].frame / 10), None)
    told = [sample.process_bytes for sample in course[start:] if sample.process_bytes is not None]
    return (told[0], max(told)) if told else (None, None)


def _aligned(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as their widest cell: names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def _number(value: float | None) -> str:
    """Three digits that matter."""
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _megabytes(value: int | None) -> str:
    return "-" if value is None else f"{value / MEGA:,.0f}"
