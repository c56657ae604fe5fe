"""The real server, killed and ended in mid-run: what is there, and what visitors find then."""

import argparse
import multiprocessing
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio.networking
import httpx
import pytest
from demo_clips import index_of, write_clip
from raw_visitor import RawVisitor, Refused
from tiny_model import write_tiny_model

import app
from demo import start
from demo.html.progress import Progress
from demo.runs import run, turn
from demo.visit.keeping import Workspaces
from xmem.cli.demo import add_arguments
from xmem.render.masks import write_index_mask
from xmem.session import Session, suspended

SIZE = (48, 64)
FRAMES, HELD_AT = 24, 6
RUN = ("propagate", "", 48, "forward", False, False, "neighbours", None)


def serve_held(folder: Path, port: int) -> None:
    """`python app.py`, which saves where a run is at every frame, and whose runs wait at one until they are to stop: so
    it is in the middle of one however long the test takes."""
    for number in (1, 2):
        os.dup2(os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT), number)
    os.environ |= {"XMEM_MODEL": str(folder / "tiny.safetensors"), "XMEM_SESSIONS": str(folder / "kept")}
    os.environ.pop("GRADIO_TEMP_DIR", None)
    tempfile.tempdir = str(folder / "tmp")
    suspended.SAVE_SECONDS, start.END_SECONDS = 0.0, 100
    gradio.networking.url_ok = lambda _: False  # as where the first answer takes longer than Gradio waits
    in_one_go = run._slice

    def held(folder: str, stop_file: str, *rest: Any) -> Iterator[Progress]:
        with closing(in_one_go(folder, stop_file, *rest)) as steps:
            for number, step in enumerate(steps, 1):
                yield step
                while number >= HELD_AT and not Path(stop_file).exists():
                    time.sleep(0.02)

    run._slice = held
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    app.serve(parser.parse_args(["--port", str(port), "--host", "127.0.0.1"]))


@contextmanager
def served(folder: Path) -> Iterator[tuple[Any, str]]:
    """A server of its own, as (process, address). All are forked from one process, which has imported everything."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["app", "demo.page", __name__])
    with socket.socket() as held:  # bound until the end, so that nobody else gets that port meanwhile
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{held.getsockname()[1]}"
        process = processes.Process(target=serve_held, args=(folder, held.getsockname()[1]))
        process.start()
        try:
            while not _answers(f"{address}/healthz"):
                assert process.is_alive(), (folder / "log").read_text()
                time.sleep(0.1)
            yield process, address
        finally:
            process.kill()
            process.join()


def _answers(address: str) -> bool:
    try:
        return httpx.get(address, trust_env=False, timeout=30).is_success
    except httpx.HTTPError:
        return False


def _children(process: int) -> list[int]:
    return [
        int(number) for each in Path(f"/proc/{process}/task").glob("*/children") for number in each.read_text().split()
    ]


@pytest.mark.long
def test_a_killed_server_loses_seconds_of_a_run_and_one_that_is_ended_none(tmp_path):
    """kill -9 in mid-run, a new server that goes on with it, and SIGTERM in mid-run."""
    (tmp_path / "tmp").mkdir()
    write_tiny_model(tmp_path / "tiny.safetensors")
    clip = write_clip(tmp_path / "clip.mp4", SIZE[1], SIZE[0], FRAMES)
    write_index_mask(tmp_path / "mask.png", index_of((1, 10, 30, 10, 40), size=SIZE))
    with served(tmp_path) as (process, address):
        visitor = RawVisitor(address)
        visitor.ask("open_video", visitor.upload(clip))
        visitor.ask("set_key_frame", 0, visitor.upload(tmp_path / "mask.png"))
        next(step for (step,) in visitor.steps(*RUN) if step.get("done", 0) >= HELD_AT)
        readers = _children(process.pid)
        process.kill()
        process.join()
    (folder,) = (tmp_path / "kept" / "sessions").glob("*/session")
    saved = Session.open(folder).suspended()
    assert saved >= HELD_AT - 1, "what came after the last state is lost, and no more"
    while any(Path(f"/proc/{reader}").exists() for reader in readers):  # they find their server gone
        time.sleep(0.05)
    (masks,) = folder.glob("spans/*/masks")
    (masks / f"{saved:05d}.part").write_bytes(b"half")
    with served(tmp_path) as (process, address):
        again = RawVisitor(address, visit=visitor.visit)
        (told,) = again.ask("describe_session")
        assert told["frames"] == FRAMES and [key["frame"] for key in told["key_frames"]] == [0]
        with pytest.raises(Refused) as refused:
            for (step,) in again.steps(*RUN):
                if step.get("done", 0) >= HELD_AT:
                    assert step["total"] == FRAMES - saved, "the run goes on"
                    os.kill(process.pid, signal.SIGTERM)  # at each step, as whoever is impatient
        assert str(refused.value) == turn.ENDING
        process.join(60)
        assert process.exitcode == 0
    assert Session.open(folder).suspended() >= saved + HELD_AT
    assert not list(folder.rglob("*.part")), "halves of files are cleaned away"
    (left,) = (tmp_path / "tmp").glob("xmem-demo-*")
    os.utime(left, (0, 0))
    spaces = Workspaces(tmp_path / "kept", tmp_path / "tmp")
    spaces.sweep()
    assert list((tmp_path / "tmp").glob("xmem-demo-*")) == [spaces.root], "and so is what the killed one had"


def test_a_server_that_ends_waits_until_its_visitors_were_told(monkeypatch):
    """What was said last is on its way when the event that said it is over; who has gone is not waited for."""
    told, gone = (
        SimpleNamespace(_id="a", session_hash="1", alive=True),
        SimpleNamespace(_id="b", session_hash="2", alive=False),
    )
    queue = SimpleNamespace(active_jobs=[[told], None, [gone]], pending_event_ids_session={"1": {"a"}, "2": {"b"}})
    closed, waited = [], []

    def sleep(_: float) -> None:
        assert not closed
        queue.active_jobs = [None] * 3
        waited.append(1)
        if len(waited) == 3:
            queue.pending_event_ids_session["1"].clear()

    monkeypatch.setattr(start.time, "sleep", sleep)
    monkeypatch.setattr(turn, "line", lambda: turn.Line(1, 1))
    start._end(SimpleNamespace(_queue=queue, close=lambda verbose: closed.append(1)))
    assert closed and len(waited) == 3
