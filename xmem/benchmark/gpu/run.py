"""Going through the parts: each in a process of its own, kept when it is done, and not done again."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xmem.benchmark.gpu.parts import ROOT, Bench, all_parts
from xmem.benchmark.gpu.scale import SCALES
from xmem.benchmark.picture import draw
from xmem.benchmark.results import Report, Row
from xmem.errors import InputError

LIMIT = 480  # seconds of a part
JSON, TABLE, PICTURE = "gpu.json", "gpu.txt", "gpu.png"


def main(words: list[str] | None = None) -> int:
    """Do the parts that are not done, as far as the time goes; then JSON, a table and a picture. 1 where one failed."""
    args = _arguments(words)
    output, bench = Path(args.output), Bench(SCALES[args.scale], args.device)
    output.mkdir(parents=True, exist_ok=True)
    parts = all_parts(bench.scale)
    if args.part:
        _write(output / f"{args.part}.part.json", parts[args.part](bench))
        return 0
    ends = time.monotonic() + 60 * args.minutes
    for name in parts:
        path = output / f"{name}.part.json"
        if path.exists() and name not in args.again:
            continue
        left = min(LIMIT, ends - time.monotonic())
        if left < args.least:
            print(f"{name}: left for the next call", flush=True)
            continue
        began = time.monotonic()
        figures = _done_here(name, bench) if args.here else _done(name, args, path, left)
        figures["seconds"] = round(time.monotonic() - began, 1)
        _write(path, figures)
        print(f"{name}: {figures.get('error') or 'done'} ({figures['seconds']} s)", flush=True)
    return _report(output, [name for name in parts if (output / f"{name}.part.json").exists()])


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gpu.py", description="Measure all that only a GPU can show.")
    parser.add_argument("--output", default="runs/gpu", metavar="DIR", help="kept between calls (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=60, help="that this call may take (default: %(default)s)")
    parser.add_argument("--least", type=float, default=60, help="seconds left with which a part is begun")
    parser.add_argument("--again", nargs="*", default=[], metavar="PART", help="parts to do once more")
    parser.add_argument("--device", default="cuda", help="(default: %(default)s)")
    parser.add_argument("--scale", choices=SCALES, default="full", help="how much (default: %(default)s)")
    parser.add_argument("--here", action="store_true", help="all in this process, to see that it runs")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    return parser.parse_args(words)


def _done_here(name: str, bench: Bench) -> dict[str, Any]:
    try:
        return all_parts(bench.scale)[name](bench)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _done(name: str, args: argparse.Namespace, path: Path, left: float) -> dict[str, Any]:
    """A part's figures; "error" where its process failed or ran past its time."""
    words = [sys.executable, str(ROOT / "gpu.py"), "--part", name]
    words += ["--output", args.output, "--device", args.device, "--scale", args.scale]
    path.unlink(missing_ok=True)
    try:
        done = subprocess.run(words, timeout=left, capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        return {"error": f"it ran past {left:.0f} seconds"}
    if done.returncode or not path.exists():
        lines = done.stderr.strip().splitlines()
        return {"error": lines[-1] if lines else f"exit status {done.returncode}", "log": lines[-30:]}
    return json.loads(path.read_text())


def _write(path: Path, figures: Mapping[str, Any]) -> None:
    part = path.with_name(path.name + "~")
    part.write_text(json.dumps(figures, indent=1))
    os.replace(part, path)


def _report(output: Path, names: list[str]) -> int:
    found = {name: json.loads((output / f"{name}.part.json").read_text()) for name in names}
    _write(output / JSON, found)
    (output / TABLE).write_text("\n".join(lines_of(found)) + "\n")
    print((output / TABLE).read_text())
    rows = [Row.of_json(_row(part)) for name, part in found.items() if name.startswith("row-") and not _failed(part)]
    if rows and "error" not in found["machine"]:
        report = Report(output / "benchmark.json", found["machine"], rows)
        report.save()
        try:
            draw(report, output / PICTURE)
        except InputError as error:
            print(error)
    if out := os.environ.get("OUT"):  # where a machine that is lent wants its results
        for path in (output / JSON, output / TABLE, output / PICTURE):
            if path.exists():
                shutil.copy(path, out)
    return int(any("error" in _failed(part) for part in found.values()))


def _row(part: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key != "seconds"}


def _failed(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part where it failed; a row has an error of None where it did not."""
    return part if part.get("error") else {}


def lines_of(found: Mapping[str, Any], name: str = "") -> list[str]:
    """All figures, one a line, by their names."""
    lines = []
    for key, value in found.items():
        path = f"{name}  {key}" if name else key
        if isinstance(value, Mapping):
            lines += lines_of(value, path)
        elif isinstance(value, float):
            lines.append(f"{path}  {value:.4g}")
        elif not (isinstance(value, list) and len(value) > 6):
            lines.append(f"{path}  {value}")
    return lines
