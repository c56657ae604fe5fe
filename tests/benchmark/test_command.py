"""`python -m xmem benchmark` as its users run it: kept when stopped, gone on with when asked."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tiny_model import write_tiny_model
from xmem.benchmark.results import FILE_NAME, Report
from xmem.cli.benchmark import add_arguments, run
from xmem.errors import InputError

ROOT = Path(__file__).parent.parent.parent


def words(folder: Path, *more: str) -> list[str]:
    axes = ["--preset", "flat", "--sizes", "32", "48", "--frames", "12", "--precisions", "float32"]
    model = ["--models", str(folder / "tiny.safetensors"), "--device", "cpu"]
    return [*model, *axes, "--output", str(folder / "out"), *more]


def start(folder: Path, *more: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "xmem", "benchmark", *words(folder, *more)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )


def test_an_earlier_benchmark_is_neither_gone_on_with_nor_replaced_unasked(tmp_path):
    write_tiny_model(tmp_path / "tiny.safetensors")
    Report(tmp_path / "out" / FILE_NAME, {}).save()
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(InputError, match=r"--resume.*--force"):
        run(parser.parse_args(words(tmp_path)))


def test_a_benchmark_of_another_machine_is_not_gone_on_with(tmp_path, monkeypatch):
    write_tiny_model(tmp_path / "tiny.safetensors")
    here = {"processor": "here", "cores": 2, "device": "CPU", "torch": "2"}
    monkeypatch.setattr("xmem.cli.benchmark.describe_machine", lambda _device: here)
    Report(tmp_path / "out" / FILE_NAME, here | {"processor": "there"}).save()
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(InputError, match="measured elsewhere"):
        run(parser.parse_args(words(tmp_path, "--resume")))


def test_a_stopped_benchmark_keeps_its_rows_and_goes_on_to_a_table_a_json_and_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    write_tiny_model(tmp_path / "tiny.safetensors")
    kept = tmp_path / "out" / FILE_NAME
    process = start(tmp_path)
    deadline = time.monotonic() + 120
    while not kept.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    first = Report.load(kept).rows
    assert len(first) == 1 and "--resume" in err and "Traceback" not in err
    assert "file to file" in out

    process = start(tmp_path, "--resume")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    rows = Report.load(kept).rows
    assert rows[: len(first)] == first  # measured once
    assert [row.case.size for row in rows] == [32, 48]
    assert "roughly" in err and f"{kept}\n" in out
    assert (tmp_path / "out" / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    assert all(row["derived"]["whole_fps"] > 0 for row in json.loads(kept.read_text())["rows"])
    assert not list(Path(os.environ.get("TMPDIR", "/tmp")).glob("xmem-benchmark-*/32.mp4"))  # clips are deleted
