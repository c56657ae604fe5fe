"""`python -m xmem benchmark` as its users run it: kept when stopped, gone on with when asked."""

import argparse
import json
import logging
import os
import subprocess
from pathlib import Path

import pytest
import torch

from tests.tiny_model import write_tiny_model
from xmem.benchmark.machine import NAMES, describe
from xmem.benchmark.results import FILE_NAME, Report
from xmem.benchmark.sweep import describe_machine, run_cases
from xmem.cli.benchmark import add_arguments, run
from xmem.device import convolves
from xmem.errors import InputError


def words(folder: Path, *more: str) -> list[str]:
    axes = ["--preset", "flat", "--sizes", "32", "48", "--frames", "12", "--precisions", "float32"]
    model = ["--models", str(folder / "tiny.safetensors"), "--device", "cpu"]
    return [*model, *axes, "--output", str(folder / "out"), *more]


@pytest.fixture
def quick(monkeypatch):
    """Peaks of loads that take no time."""
    monkeypatch.setattr("xmem.benchmark.arithmetic.MATRIX_SIDES", {"cpu": (64,)})
    monkeypatch.setattr("xmem.benchmark.arithmetic.CONVOLUTIONS", ((8, 1),))


@pytest.fixture
def here(quick, monkeypatch):
    """What this machine is, found out in this process."""
    monkeypatch.setattr("xmem.cli.benchmark.describe_machine", describe)
    return describe("cpu")


def arguments(folder: Path, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words(folder, *more))


def test_an_earlier_benchmark_is_neither_gone_on_with_nor_replaced_unasked(tmp_path):
    write_tiny_model(tmp_path / "tiny.safetensors")
    Report(tmp_path / "out" / FILE_NAME, {}).save()
    with pytest.raises(InputError, match=r"--resume.*--force"):
        run(arguments(tmp_path))


def test_a_benchmark_of_another_machine_is_not_gone_on_with(tmp_path, here):
    write_tiny_model(tmp_path / "tiny.safetensors")
    Report(tmp_path / "out" / FILE_NAME, here | {"processor": "there"}).save()
    with pytest.raises(InputError, match="measured elsewhere"):
        run(arguments(tmp_path, "--resume"))


@pytest.mark.long
def test_a_stopped_benchmark_keeps_its_rows_and_goes_on_to_a_table_a_json_and_a_picture(
    tmp_path, here, monkeypatch, capsys, caplog
):
    """Stopped by Ctrl-C within its second row, whose process ends with it."""
    pytest.importorskip("matplotlib")
    write_tiny_model(tmp_path / "tiny.safetensors")
    kept, workers = tmp_path / "out" / FILE_NAME, []

    def started(*args, plain=subprocess.Popen, **options):
        workers.append(plain(*args, **options))
        return workers[-1]

    def until_the_second(report, cases, device, on_frames, plain=run_cases):
        def counted(case, frames):
            if report.rows:
                raise KeyboardInterrupt
            on_frames(case, frames)

        plain(report, cases, device, counted)

    with monkeypatch.context() as patch, caplog.at_level(logging.INFO, "xmem"):
        patch.setattr("xmem.cli.benchmark.run_cases", until_the_second)
        patch.setattr("xmem.benchmark.sweep.subprocess.Popen", started)
        with pytest.raises(KeyboardInterrupt):
            run(arguments(tmp_path))
    assert len(workers) == 2 and all(worker.poll() is not None for worker in workers)
    first = Report.load(kept).rows
    assert len(first) == 1 and "--resume" in caplog.text and "file to file" in capsys.readouterr().out

    with caplog.at_level(logging.INFO, "xmem"):
        assert run(arguments(tmp_path, "--resume")) == 0
    rows = Report.load(kept).rows
    assert rows[: len(first)] == first  # measured once
    assert [row.case.size for row in rows] == [32, 48]
    assert "roughly" in caplog.text and f"{kept}\n" in capsys.readouterr().out
    assert (tmp_path / "out" / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    assert all(row["derived"]["whole_fps"] > 0 for row in json.loads(kept.read_text())["rows"])
    assert not list(Path(os.environ.get("TMPDIR", "/tmp")).glob("xmem-benchmark-*/32.mp4"))  # clips are deleted


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_what_a_process_of_its_own_refuses_is_refused_here():
    with pytest.raises(InputError, match="no usable 'cuda' device"):
        describe_machine("cuda")


@pytest.mark.parametrize("native", [True, False] if convolves(torch.bfloat16) else [False])
def test_only_what_the_machine_computes_natively_is_measured(quick, monkeypatch, native):
    """Emulated types would take minutes, and serve nobody."""
    monkeypatch.setattr("xmem.device.multiplies_bfloat16", lambda: native)
    found = describe("cpu")
    assert found["precisions"] == list(found["peaks"]) == (["float32", "bfloat16"] if native else ["float32"])
    assert found["auto"] == ("bfloat16" if native else "float32")
    assert found["device_type"] == "cpu" and set(NAMES) <= set(found)
