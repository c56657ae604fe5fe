"""The real server, killed and ended: what visitors find then."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from demo_clips import index_of, write_clip
from raw_visitor import RawVisitor, Refused
from tiny_model import write_tiny_model

from xmem.render.masks import write_index_mask
from xmem.session import Session

ROOT = Path(__file__).parents[2]
SIZE = (48, 64)
FRAMES = 900  # enough for no machine to be done before it is killed
# `python app.py`, which saves where a run is at every frame
SCRIPT = """
import argparse, sys
from xmem.session import suspended
suspended.SAVE_SECONDS = 0.0
from app import serve
from xmem.cli.demo import add_arguments
parser = argparse.ArgumentParser()
add_arguments(parser)
serve(parser.parse_args(sys.argv[1:]))
"""


@contextmanager
def served(folder: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {"XMEM_MODEL": str(folder / "tiny.safetensors"), "XMEM_SESSIONS": str(folder / "kept")}
    environment = {**os.environ, **own, "TMPDIR": str(folder / "tmp"), "no_proxy": "127.0.0.1"}
    environment.pop("GRADIO_TEMP_DIR", None)
    words = [sys.executable, "-c", SCRIPT, "--port", str(port), "--host", "127.0.0.1"]
    with open(folder / "log", "a") as log:
        process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            try:
                httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def test_a_killed_server_loses_nothing_and_one_that_is_ended_tells_its_visitors(tmp_path):
    """kill -9 in mid-run, a new server that goes on with it, and SIGTERM in mid-run."""
    (tmp_path / "tmp").mkdir()
    write_tiny_model(tmp_path / "tiny.safetensors")
    clip = write_clip(tmp_path / "clip.mp4", SIZE[1], SIZE[0], FRAMES)
    write_index_mask(tmp_path / "mask.png", index_of((1, 10, 30, 10, 40), size=SIZE))
    run = ("propagate", "", 48, "forward", False, False)
    with served(tmp_path) as (process, address):
        visitor = RawVisitor(address)
        visitor.ask("open_video", visitor.upload(clip))
        visitor.ask("set_key_frame", 0, visitor.upload(tmp_path / "mask.png"))
        for (step,) in visitor.steps(*run):
            if step.get("done", 0) > 20:
                break
        process.kill()
    (folder,) = (tmp_path / "kept" / "sessions").glob("*/session")
    saved = Session.open(folder).suspended()
    assert saved >= 15, "a few frames are lost"
    with served(tmp_path) as (process, address):
        again = RawVisitor(address, visit=visitor.visit)
        (told,) = again.ask("describe_session")
        assert told["frames"] == FRAMES and [key["frame"] for key in told["key_frames"]] == [0]
        with pytest.raises(Refused, match="about to start again: what is done is kept"):
            for (step,) in again.steps(*run):
                if step.get("done", 0) > 5:
                    assert step["total"] == FRAMES - saved, "the run goes on"
                    process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert Session.open(folder).suspended() > saved
        assert not list(folder.rglob("*.part")), "halves of files are cleaned away"
    (left,) = (tmp_path / "tmp").glob("xmem-demo-*")
    os.utime(left, (0, 0))
    from demo.visit.keeping import Workspaces

    spaces = Workspaces(tmp_path / "kept", tmp_path / "tmp")
    spaces.sweep()
    assert list((tmp_path / "tmp").glob("xmem-demo-*")) == [spaces.root], "and so is what the killed one had"
