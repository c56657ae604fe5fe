"""The command `benchmark`: its words, and its way from them to a table, a JSON file and a picture."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from xmem.benchmark.cases import PRESETS, Case, Sweep, check_model, plan
from xmem.benchmark.machine import NAMES
from xmem.benchmark.picture import draw
from xmem.benchmark.results import FILE_NAME, Report
from xmem.benchmark.sweep import describe_machine, frames_of, guess_seconds, run_cases
from xmem.benchmark.table import heading, table
from xmem.device import DEVICES, PRECISIONS
from xmem.errors import InputError

log = logging.getLogger("xmem")

PICTURE_NAME = "benchmark.png"
LONG_TERM = {"on": (True,), "off": (False,), "both": (True, False)}
BAR = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"


HELP = "measure this machine: frames per second, memory, where the time goes"
DESCRIPTION = (
    "Measure speed and memory on this machine: a table on standard output, and in DIR benchmark.json "
    "and benchmark.png. Every row is kept as it is done."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `benchmark`."""
    presets = ", ".join(PRESETS)
    parser.add_argument("--preset", metavar="NAME", default="quick", help=f"{presets} (default: %(default)s)")
    parser.add_argument("--output", metavar="DIR", default="runs/benchmark", help="folder (default: %(default)s)")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--resume", action="store_true", help="go on with the benchmark in DIR: keep its rows")
    begin.add_argument("--force", action="store_true", help="replace the benchmark in DIR")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where to run (default: %(default)s)")
    axes = parser.add_argument_group("axes in place of the preset's: the first value of each is the base point")
    axes.add_argument("--models", metavar="NAME|PATH", nargs="+", help="checkpoints; nothing is fetched")
    axes.add_argument("--sizes", metavar="PIXELS", nargs="+", type=int, help="shorter sides")
    axes.add_argument("--objects", metavar="N", nargs="+", type=int, help="objects that are followed")
    axes.add_argument("--frames", metavar="N", nargs="+", type=int, help="clip lengths")
    axes.add_argument("--precisions", choices=PRECISIONS, nargs="+", help=f"among {', '.join(PRECISIONS)}")
    axes.add_argument("--long-term", choices=LONG_TERM, help="long-term memory")


def run(args: argparse.Namespace) -> int:
    """`benchmark`: a table on standard output, JSON and picture in a folder. Status 1 where a row was not measured."""
    sweeps = chosen_sweeps(args)
    output = Path(args.output)
    report = _report(output / FILE_NAME, args)
    cases = plan(sweeps, report.machine["auto"], report.machine["precisions"])
    if not cases:
        raise InputError(f"No precision asked for works here: choose among {', '.join(report.machine['precisions'])}.")
    left = [case for case in cases if report.find(case) is None]
    try:
        _measure(report, left, args.device)
    except BaseException:  # an interrupt, too
        if report.rows:
            print(table(report), flush=True)
            log.info("What is done is kept in %s; --resume goes on from there.", report.path)
        raise
    print(f"{table(report)}\n\n{report.path}", flush=True)
    picture = output / PICTURE_NAME
    draw(report, picture)
    print(picture)
    return int(any(row.error for row in report.rows))


def chosen_sweeps(args: argparse.Namespace) -> list[Sweep]:
    """The preset's sweeps with what was asked for in place of its values. Raises InputError for what cannot work."""
    if args.preset not in PRESETS:
        raise InputError(f"There is no preset '{args.preset}': choose one of {', '.join(PRESETS)}.")
    given = {name: getattr(args, name) for name in ("models", "sizes", "objects", "frames", "precisions")}
    values = {name: tuple(dict.fromkeys(value)) for name, value in given.items() if value}
    if args.long_term:
        values["long_term"] = LONG_TERM[args.long_term]
    sweeps = [replace(sweep, **values) for sweep in PRESETS[args.preset]]
    for name in {name for sweep in sweeps for name in sweep.models}:
        check_model(name)
    return sweeps


def _report(path: Path, args: argparse.Namespace) -> Report:
    """A new report of this machine, or the one to go on with."""
    if path.exists() and not (args.resume or args.force):
        raise InputError(f"{path} holds an earlier benchmark: go on with --resume, replace it by --force.")
    earlier = Report.load(path) if path.exists() and args.resume else None
    log.info("Measuring the machine's peak.")
    machine = describe_machine(args.device)
    if earlier is None:
        return Report(path, machine)
    for name in NAMES:
        if earlier.machine[name] != machine[name]:
            raise InputError(
                f"{path} was measured elsewhere ({earlier.machine[name]}, here {machine[name]}): "
                "choose another --output, or replace it by --force."
            )
    return earlier


def _measure(report: Report, cases: Sequence[Case], device: str) -> None:
    for line in heading(report.machine):
        log.info("%s", line)
    seconds = guess_seconds(cases, report.machine)
    total = sum(seconds.values())
    log.info("%d rows to measure: roughly %s.", len(cases), _clock(total))
    quick = sys.stderr.isatty()  # a log file is spared
    with tqdm(total=total, bar_format=BAR, mininterval=0.2 if quick else 10.0, file=sys.stderr) as bar:

        def show(case: Case, frames: int) -> None:
            bar.set_description_str(case.label(), refresh=False)
            bar.update(min(frames * seconds[case] / frames_of(case), bar.total - bar.n))

        run_cases(report, cases, device, show)


def _clock(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
