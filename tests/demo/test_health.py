"""What whoever runs the server is told."""

import asyncio
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from demo.health import Health
from demo.metrics import METRICS, Metrics
from demo.runs import models
from demo.visit import studio
from xmem.errors import InputError


def test_health_tells_of_the_network_the_disk_and_the_line(address, listed):
    models.load(listed, "cpu")
    answer = httpx.get(f"{address}/healthz")
    told = answer.json()
    assert answer.status_code == 200 and told["ok"] and told["model_loaded"] and told["runs"] == 0
    assert told["disk_free_bytes"] > 0 and str(studio.workspaces().folder) not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("changed", "free"), [({"is_loaded": False}, 10**9), ({"ends": True}, 10**9), ({}, 10**8), ({}, 10**9)]
)
def test_a_server_that_cannot_work_says_so(monkeypatch, changed, free):
    monkeypatch.setattr("demo.health.free_bytes", lambda folder: free)
    values = {"is_loaded": True, "runs": 2, "ends": False, **changed}
    calls = {name: lambda value=value: value for name, value in values.items()}
    told = Health(None, lambda: Path("/"), **calls).told()
    assert told["ok"] is (not changed and free == 10**9) and told["runs"] == 2


def test_figures_are_off_unless_asked_for(address):
    assert not METRICS.is_on and httpx.get(f"{address}/metrics").status_code == 404


def test_figures_are_those_of_runs_and_refusals(monkeypatch):
    pytest.importorskip("prometheus_client")
    metrics = Metrics()
    metrics.run("done", 1, 1.0)
    metrics.switch_on()
    metrics.run("done", 90, 12.5)
    metrics.run("stopped", 10, 1.5)
    metrics.refused()
    lines = metrics.text(3, 7).decode().splitlines()
    for line in (
        'xmem_runs_total{end="done"} 1.0',
        'xmem_runs_total{end="stopped"} 1.0',
        "xmem_run_seconds_total 14.0",
        "xmem_frames_total 100.0",
        "xmem_refusals_total 1.0",
        "xmem_failures_total 0.0",
        "xmem_line 3.0",
        "xmem_disk_free_bytes 7.0",
    ):
        assert line in lines
    monkeypatch.setattr("demo.metrics.find_spec", lambda name: None)
    with pytest.raises(InputError, match="extra 'metrics'"):
        metrics.switch_on()


def test_prometheus_reads_them_where_they_are_on(monkeypatch):
    pytest.importorskip("prometheus_client")
    metrics = Metrics()
    metrics.switch_on()
    monkeypatch.setattr("demo.health.METRICS", metrics)
    monkeypatch.setattr("demo.health.free_bytes", lambda folder: 1)
    sent = []

    async def ask() -> None:
        scope = {"type": "http", "method": "GET", "path": "/metrics", "headers": []}

        async def send(message):
            sent.append(message)

        calls = {"is_loaded": lambda: True, "runs": lambda: 0, "ends": lambda: False}
        await Health(None, lambda: Path("/"), **calls)(scope, None, send)

    with ThreadPoolExecutor(1) as another:  # the browser's driver may have a loop in this thread
        another.submit(asyncio.run, ask()).result()
    assert sent[0]["status"] == 200 and b"xmem_frames_total 0.0" in sent[1]["body"]


def test_the_log_as_json_has_neither_contents_nor_names_of_files():
    script = "import logging; from demo import log; log.begin('json')\ntry: open('/no/secret name.mp4')\n"
    script += "except OSError as error: logging.getLogger('xmem.demo').error('An event failed.', exc_info=error)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    (line,) = found.stderr.splitlines()
    told = json.loads(line)
    assert told["error"] == "FileNotFoundError" and told["level"] == "error" and told["at"] == ["<string>:2 <module>"]
    assert "secret" not in line
