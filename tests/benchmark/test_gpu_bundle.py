"""The command for a GPU machine goes through on a CPU that lacks Gradio, and its bundle holds what it imports."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from xmem.benchmark.gpu import bundle, parts, run
from xmem.benchmark.gpu.parts import all_parts
from xmem.benchmark.gpu.scale import FULL, TINY

ROOT = Path(__file__).parents[2]
BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("gradio", "demo"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
import runpy
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.long
def test_all_parts_go_through_on_a_cpu_without_gradio(tmp_path, capsys):
    """In one process, at tiny sizes, to JSON, a table and the picture; a second call does nothing again."""
    words = ["--scale", "tiny", "--device", "cpu", "--here", "--output", str(tmp_path / "gpu")]
    program = [sys.executable, "-c", BLOCKED, str(ROOT / "gpu.py"), *words]
    out = tmp_path / "out"
    out.mkdir()
    environment = os.environ | {"OUT": str(out)}
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True)
    found = json.loads((tmp_path / "gpu" / run.JSON).read_text()) if (tmp_path / "gpu" / run.JSON).exists() else {}
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert list(found) == list(all_parts(TINY)) and not any(part.get("error") for part in found.values())
    assert found["ways-2"]["eager"]["ms"] > 0 and not found["ways-2"]["failed"]
    assert found["read"]["200"]["top-k by blocks"]["ms"] > 0 and found["page"]["costs nothing"]["fps"] > 0
    assert {path.name for path in out.iterdir()} >= {run.JSON, run.TABLE}
    assert run.main(words) == 0 and ": done" not in capsys.readouterr().out


def test_the_first_frame_is_timed_with_the_algorithms_that_were_asked_for(monkeypatch):
    """Selecting a CUDA device has cuDNN try them all: nothing may do so once the part has said otherwise."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    seen = []

    def selects(_):
        torch.backends.cudnn.benchmark = True
        return torch.device("cpu")

    def begins(*_):
        seen.append(torch.backends.cudnn.benchmark)
        return type("Engine", (), {"step": lambda self, image: seen.append(torch.backends.cudnn.benchmark)})()

    monkeypatch.setattr(parts, "select_device", selects)
    monkeypatch.setattr(parts, "network", lambda *_: selects(None))
    monkeypatch.setattr(parts, "begun", begins)
    for tries in (False, True):
        seen.clear()
        parts.first_frame(parts.Bench(TINY, "cuda"), tries)
        assert len(seen) > 2 and set(seen) == {tries}


def test_a_part_that_fails_or_takes_too_long_is_told_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    some = {"machine": lambda bench: {"cores": 2}, "broken": lambda bench: 1 / 0, "last": lambda bench: {"it": 1.0}}
    monkeypatch.setattr(run, "all_parts", lambda scale: some)
    words = ["--output", str(tmp_path), "--scale", "tiny", "--device", "cpu", "--here"]
    assert run.main(words) == 1
    found = json.loads((tmp_path / run.JSON).read_text())
    assert "ZeroDivisionError" in found["broken"]["error"] and found["last"]["it"] == 1.0
    some["broken"] = lambda bench: {"it": 2.0}
    assert run.main([*words, "--again", "broken"]) == 0
    assert "last: done" not in capsys.readouterr().out.split("broken: done")[1]
    assert run.main([*words, "--again", "last", "--minutes", "0"]) == 0
    assert "left for the next call" in capsys.readouterr().out


def test_what_a_part_takes_in_a_process_of_its_own_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(run.subprocess, "run", _times_out)
    args = run._arguments(["--output", str(tmp_path)])
    assert run._done("machine", args, tmp_path / "machine.part.json", 7)["error"] == "it ran past 7 seconds"


def _times_out(words, timeout, **_):
    raise subprocess.TimeoutExpired(words, timeout)


def test_the_bundle_holds_every_dependency_that_a_gpu_machine_lacks():
    """Others than those that are said to be there are fetched; so none is missing when one is added."""
    names = {Requirement(line).name for line in bundle.needed()}
    assert {"av", "backports.zstd", "pydantic", "filelock", "natsort", "platformdirs", "tqdm"} <= names
    assert not names & set(bundle.AT_HAND)


def test_the_bundle_holds_the_engine_and_leaves_out_the_page():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no checkout")
    names = bundle.files_of_tree(listed.stdout.splitlines())
    assert {"gpu.py", "xmem/engine/propagator.py", "tests/test_gpu.py", "tests/reference/long-run.npz"} <= set(names)
    assert not [name for name in names if name.startswith(("demo/stage", "tests/browser", "tests/reference/families"))]
    assert sum((ROOT / name).stat().st_size for name in names) < 20e6
    assert FULL.clips == ("flamingo", "car-turn", "dance-jump", "mallard-fly", "scooter-gray")
