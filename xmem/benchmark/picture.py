"""The report as one picture: speed by size and by objects, where the time goes, memory against length."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from xmem.benchmark.results import GROUPS, Report, Row
from xmem.benchmark.table import MEGA, is_course, is_long_run
from xmem.errors import InputError

# Okabe and Ito's colours, which people with any colour vision tell apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK, QUIET, GRID = "#222222", "#6b6b6b", "#e3e3e3"
GROUP_COLOURS = dict(zip(GROUPS, ("#56B4E9", "#0072B2", "#D55E00", "#E69F00", "#009E73"), strict=True))
LIGHT_GROUPS = ("decode", "render")  # in colours that white does not stand out from
STYLE: Any = {  # as matplotlib names it
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "legend.frameon": False,
}
PANEL_INCHES = (5.6, 3.7)
DOTS_PER_INCH = 120
MOST_BARS = 10
NARROW = 0.06  # of a bar: shares below are not written into it

Panel = Callable[[Any], None]  # draws on matplotlib's axes


def draw(report: Report, path: Path) -> None:
    """Write a PNG of the panels for which something was measured. Raises InputError where matplotlib is missing."""
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise InputError(
            f"The picture needs matplotlib (pip install matplotlib); the table and {report.path} are complete."
        ) from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = _panels([row for row in report.rows if row.engine or row.whole], report.machine["device_type"])
    if not panels:
        raise InputError("Nothing was measured to its end, so there is nothing to draw.")
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    size = (columns * PANEL_INCHES[0], lines * PANEL_INCHES[1] + 0.5)
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
        for panel, place in zip(panels, axes.flat, strict=False):
            panel(place)
        for place in axes.flat[len(panels) :]:
            place.set_axis_off()
        machine = report.machine
        cores = f"{machine['cores']} core{'s' * (machine['cores'] != 1)}"
        where = machine["device"] if machine["device_type"] != "cpu" else f"{machine['processor']}, {cores}"
        figure.suptitle(f"XMem on {where}, torch {machine['torch']}", x=0.012, ha="left", fontsize=10, color=QUIET)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DOTS_PER_INCH, metadata={"Software": None})
        pyplot.close(figure)


def unit_of(rows: Sequence[Row], device_type: str) -> tuple[float, str]:
    """What speeds are drawn in, in frames per second and in words.

    On a CPU that is the speed of one row, the slowest model's first: an absolute figure would say more about the one
    processor than about the program.
    """
    if device_type != "cpu" or not rows:
        return 1.0, "frames per second"
    first = {row.case.model: row for row in reversed(rows)}
    fps, case = min(((row.engine.fps, row.case) for row in first.values() if row.engine), key=itemgetter(0))
    return fps, f"speed: 1 is {case.model}, {case.size} px, {case.objects} obj., {case.precision}"


def _panels(rows: Sequence[Row], device_type: str) -> list[Panel]:
    speeds = [row for row in rows if row.engine and row.whole and row.error is None]
    unit = unit_of(speeds, device_type)
    lengths = [row for row in rows if is_course(row)]
    long_runs = [row for row in rows if is_long_run(row)]
    panels: list[Panel] = []
    for axis, title, label in (
        ("size", "Speed by frame size", "shorter side, pixels"),
        ("objects", "Speed by number of objects", "objects"),
        ("frames", "Speed by length", "frames in the clip"),
    ):
        if series := series_along(axis, speeds):
            panels.append(partial(_speed_panel, series=series, unit=unit, axis=axis, title=title, label=label))
    if sampled := series_along("frames", [row for row in rows if row.is_sampled and row.error is None]):
        panels.append(partial(_late_speed_panel, series=sampled, device_type=device_type))
        panels.append(partial(_late_memory_panel, series=sampled))
    if timed := [row for row in speeds if row.shares]:
        panels.append(lambda axes: _share_panel(axes, timed))
    if lengths:
        panels.append(lambda axes: _length_panel(axes, lengths))
    if long_runs:
        panels.append(lambda axes: _flat_panel(axes, long_runs))
    return panels


def series_along(axis: str, rows: Sequence[Row]) -> dict[str, list[Row]]:
    """For each model the longest series of rows that differ in this axis only, by its value; none of a single row."""
    groups: dict[tuple, list[Row]] = defaultdict(list)
    for row in rows:
        rest = {name: value for name, value in asdict(row.case).items() if name not in (axis, "passes")}
        groups[tuple(rest.values())].append(row)
    series: dict[str, list[Row]] = {}
    for group in groups.values():
        name = group[0].case.model
        if len(group) > max(1, len(series.get(name, ()))):
            series[name] = sorted(group, key=lambda row: getattr(row.case, axis))
    return series


def _speed_panel(
    axes: Any, series: dict[str, list[Row]], unit: tuple[float, str], axis: str, title: str, label: str
) -> None:
    ticks = sorted({getattr(row.case, axis) for rows in series.values() for row in rows})
    for colour, (name, rows) in zip(COLOURS, series.items(), strict=False):
        x = [getattr(row.case, axis) for row in rows]
        engine, whole = (
            [part.fps / unit[0] for part in parts] for parts in zip(*((r.engine, r.whole) for r in rows), strict=True)
        )
        axes.plot(x, engine, color=colour, marker="o", linewidth=2, label=name)
        axes.plot(x, whole, color=colour, marker="s", markersize=3.5, linewidth=1.2, linestyle="--")
        for at, value in zip(x, engine, strict=True):
            _write(axes, f"{value:.3g}", (at, value), (0, 6), colour, "center")
    axes.plot([], [], color=QUIET, linewidth=2, marker="o", label="network and memory")
    axes.plot([], [], color=QUIET, linewidth=1.2, linestyle="--", marker="s", markersize=3.5, label="file to file")
    axes.set(title=title, xlabel=label, ylabel=unit[1], xscale="log", yscale="log")
    _plain_ticks(axes.xaxis, ticks)
    _plain_ticks(axes.yaxis)
    axes.margins(x=0.08, y=0.18)
    axes.legend(fontsize=8)


def _late_speed_panel(axes: Any, series: dict[str, list[Row]], device_type: str) -> None:
    slowest = min(row.engine.fps for rows in series.values() for row in rows[:1] if row.engine)
    unit = slowest if device_type == "cpu" else 1.0
    first = next(name for name, rows in series.items() if rows[0].engine and rows[0].engine.fps == slowest)
    said = f"speed: 1 is {first} after {series[first][0].case.frames} frames" if device_type == "cpu" else "frames/s"
    _late_panel(axes, series, "Speed over length", said, lambda row: row.engine.fps / unit if row.engine else 0.0)


def _late_memory_panel(axes: Any, series: dict[str, list[Row]]) -> None:
    def held(row: Row) -> float:
        return (row.engine.course[-1].element_bytes or 0) / MEGA if row.engine else 0.0

    _late_panel(axes, series, "Memory over length", "MB in the memories", held)


def _late_panel(axes: Any, series: dict[str, list[Row]], title: str, label: str, value: Callable[[Row], float]) -> None:
    """Of each model its value after so many frames, its name at the line's end."""
    for colour, (name, rows) in zip(COLOURS, series.items(), strict=False):
        x, y = [row.case.frames for row in rows], [value(row) for row in rows]
        axes.plot(x, y, color=colour, marker="o", linewidth=2, label=name)
    base = next(iter(series.values()))[0].case
    objects = f"{base.objects} object{'s' * (base.objects != 1)}"
    what = f"frames ({base.size} pixels, {objects}, {base.precision})"
    axes.set(title=title, xlabel=what, ylabel=label, xscale="log", yscale="log")
    _plain_ticks(axes.xaxis, sorted({row.case.frames for rows in series.values() for row in rows}))
    _plain_ticks(axes.yaxis)
    axes.margins(x=0.08, y=0.12)
    axes.legend(fontsize=8)


def _write(axes: Any, text: str, at: tuple[float, float], offset: tuple[float, float], colour: str, side: str) -> None:
    """Small text beside a point; offset in points."""
    axes.annotate(text, at, offset, textcoords="offset points", ha=side, fontsize=8, color=colour)


def _plain_ticks(axis: Any, ticks: Sequence[float] | None = None) -> None:
    """1, 3, 10, 30 on a logarithmic axis, instead of powers; or exactly these ticks."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    if ticks is None:
        axis.set_major_locator(LogLocator(subs=(1, 3)))
    else:
        axis.set_ticks(ticks)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _share_panel(axes: Any, rows: Sequence[Row]) -> None:
    rows = rows[:MOST_BARS]
    names = [f"{row.case.model}\n{row.case.size} px, {row.case.objects} obj., {row.case.precision}" for row in rows]
    places = range(len(rows))
    left = [0.0] * len(rows)
    for group, colour in GROUP_COLOURS.items():
        widths = [100 * row.shares[group] for row in rows]
        ink = INK if group in LIGHT_GROUPS else "white"
        axes.barh(places, widths, left=left, color=colour, label=group, height=0.72)
        for place, start, width in zip(places, left, widths, strict=True):
            if width > 100 * NARROW:
                axes.text(start + width / 2, place, f"{width:.0f}", ha="center", va="center", color=ink, fontsize=8)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set(title="Where a frame's time goes, %", xlim=(0, 100), xticks=[])
    axes.set_yticks(places, names, fontsize=7)
    axes.tick_params(left=False)
    axes.spines[:].set_visible(False)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.legend(fontsize=8, ncols=len(GROUPS), loc="upper left", bbox_to_anchor=(-0.02, 0.01), columnspacing=1.2)


def _length_panel(axes: Any, rows: Sequence[Row]) -> None:
    for colour, row in zip(COLOURS, rows, strict=False):
        course, case = row.engine.course if row.engine else (), row.case
        held = [(sample.frame, sample.elements or 0, (sample.element_bytes or 0) / MEGA) for sample in course]
        label = f"{case.model}, {case.size} px, long-term memory {'on' if case.long_term else 'off'}"
        axes.plot(
            [frame for frame, _, _ in held], [size for _, _, size in held], color=colour, linewidth=2, label=label
        )
        frame, elements, size = held[-1]
        said = f"{elements:,} elements" + (f"\n{row.error}" if row.error else "")
        _write(axes, said, (frame, size), (0, 6), colour, "right")
    axes.margins(y=0.15)
    axes.set(title="Memory against length", xlabel="frames", ylabel="MB in the memories")
    _from_zero(axes)
    axes.legend(fontsize=8, loc="upper left")


def _from_zero(axes: Any) -> None:
    axes.set(xlim=(0, None), ylim=(0, None))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,.6g}")


def _flat_panel(axes: Any, rows: Sequence[Row]) -> None:
    for colour, row in zip(COLOURS, rows, strict=False):
        course = row.whole.course if row.whole else ()
        told = [(sample.frame, sample.process_bytes / MEGA) for sample in course if sample.process_bytes is not None]
        label = f"{row.case.model}, {row.case.size} px, {row.case.precision}"
        axes.plot([frame for frame, _ in told], [size for _, size in told], color=colour, linewidth=2, label=label)
    axes.margins(y=0.15)
    axes.set(title="The process over a whole run", xlabel="frames", ylabel="MB in use")
    _from_zero(axes)
    axes.legend(fontsize=8, loc="lower right")
