"""A GPU that is lent by the call: the real `spaces`, a real forked worker, and a stub of the service that lends."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import gradio as gr
import gradio_client
import pytest
from demo_clips import index_of, write_clip

from demo.html.progress import Progress
from demo.runs import zero
from demo.space import write as write_space
from xmem.render.masks import write_index_mask

ROOT = Path(__file__).parents[2]
VISITOR = {"X-IP-Token": "header.e30.signature"}
FIRST, LATER = (1, 20, 44, 10, 40), (1, 20, 44, 20, 50)
FRAMES = 4


class Lender:
    """The service that lends GPUs. asked: seconds of each call. answers: what to say to the next calls, in their order:
    the seconds that are left, of a visitor who gets none, or a function that is called before a GPU is lent; then, and
    to all others, yes."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.workers: list[int] = []
        self.released: list[bool] = []
        self.answers: list = []
        lender = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                url = urlsplit(self.path)
                status, answer = lender.answer(
                    url.path, {name: value[0] for name, value in parse_qs(url.query).items()}
                )
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, dict]:
        if path == "/allow":
            self.workers.append(int(query["pid"]))
        if path == "/release":
            self.released.append(query["fail"] == "false")
        if path != "/schedule":
            return 200, {}
        self.asked.append(int(query["durationSeconds"]))
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, int):
            return 429, {"left": answer, "wait": "PT2H10M"}
        if answer:
            answer()
        return 200, {"idle": False, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": str(len(self.asked))}

    def forget(self) -> None:
        self.asked, self.workers, self.released, self.answers = [], [], [], []


@pytest.fixture(scope="module")
def space(tmp_path_factory, tiny_model) -> Iterator[SimpleNamespace]:
    """A served Space of the folder that `make space` makes. slice: a file with the seconds of work in each slice,
    or nothing where they are to be chosen."""
    pytest.importorskip("spaces", reason="the package of Hugging Face's Spaces is not installed (extra dev)")
    folder, lender = tmp_path_factory.mktemp("space"), Lender()
    made = folder / "space"
    seconds = folder / "slice"
    seconds.write_text("")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "SPACES_ZERO_GPU": "true",
        "SPACES_ZERO_DEVICE_API_URL": lender.address,
        "ZEROGPU_OFFLOAD_DIR": str(folder / "tensors"),
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        "XMEM_MODEL": str(tiny_model),
        "XMEM_SESSIONS": str(folder / "sessions"),
        "TMPDIR": str(folder),
        "PYTHONPATH": str(made),
        "SLICE": str(seconds),
        "no_proxy": "127.0.0.1,localhost",
    }
    write_space(made)
    environment.pop("GRADIO_TEMP_DIR", None)
    with open(folder / "log", "w") as log:
        program = [sys.executable, str(Path(__file__).with_name("zero_space.py"))]
        server = subprocess.Popen(program, cwd=made, env=environment, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(address, server, folder / "log")
        clip = write_clip(folder / "clip.mp4", 96, 64, FRAMES)
        masks = []
        for name, box in (("first", FIRST), ("later", LATER)):
            masks.append(folder / f"{name}.png")
            write_index_mask(masks[-1], index_of(box, size=(64, 96)))
        yield SimpleNamespace(
            address=address, lender=lender, slice=seconds, clip=clip, masks=masks, folder=folder, log=folder / "log"
        )
    finally:
        server.terminate()
        server.wait(30)
        lender.server.shutdown()
        lender.server.server_close()


def wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    opener, pause = urllib.request.build_opener(urllib.request.ProxyHandler({})), threading.Event()
    for _ in range(1500):
        try:
            opener.open(address, timeout=10).read()
            return
        except OSError:
            if server.poll() is not None:
                break
            pause.wait(0.2)
    pytest.fail(f"The page is not served:\n{log.read_text()}")


@pytest.fixture(scope="module")
def client(space) -> Iterator[gradio_client.Client]:
    """One for all tests: each that is closed waits for a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "127.0.0.1,localhost")
        connected = gradio_client.Client(space.address, headers=VISITOR, verbose=False)
        yield connected
        connected.close()


@pytest.fixture
def visitor(space, client) -> SimpleNamespace:
    """A visitor with the clip, opened anew and painted on its first frame."""
    space.lender.forget()
    space.slice.write_text("")

    def begin() -> None:
        client.predict(gradio_client.handle_file(space.clip), api_name="/open_video")
        paint(0, space.masks[0])

    def paint(frame: int, mask: Path) -> None:
        client.predict(frame, gradio_client.handle_file(mask), api_name="/set_key_frame")

    def run(**more) -> list[dict]:
        job = client.submit(size=64, direction="forward", api_name="/propagate", **more)
        job.result(timeout=180)
        return job.outputs()[:-1]

    def masks() -> list[bytes]:
        return [Path(client.predict(frame, api_name="/read_frame")[2]).read_bytes() for frame in range(FRAMES)]

    begin()
    return SimpleNamespace(client=client, begin=begin, paint=paint, run=run, masks=masks)


def newest_session(space: SimpleNamespace) -> Path:
    """The folder of the session that was changed last."""
    return max(space.folder.rglob("session/project.json"), key=lambda path: path.stat().st_mtime_ns).parent


def refusal(work) -> str:
    """The sentence with which a call fails."""
    with pytest.raises(Exception) as failed:
        work()
    return str(failed.value)


def test_after_a_run_the_work_is_edited_and_run_again(space, visitor):
    """No lock stays with the worker, which lives on; and the network that was placed at the start is there."""
    last = visitor.run()[-1]
    assert last["done"] == last["total"] == FRAMES
    assert Path(f"/proc/{space.lender.workers[0]}").exists() or sys.platform != "linux"
    visitor.paint(2, space.masks[1])
    last = visitor.run()[-1]
    assert last["done"] == last["total"] > 0
    assert len(space.lender.workers) == 2 and space.lender.released == [True, True]
    assert all(asked <= 60 for asked in space.lender.asked), "times 1.5 on today's cards"


def test_a_run_in_slices_is_the_run_in_one(space, visitor):
    visitor.run()
    whole = visitor.masks()
    visitor.begin()
    space.slice.write_text("0")
    space.lender.forget()
    steps = visitor.run(start_over=True)
    assert steps[-1]["done"] == steps[-1]["total"] == FRAMES
    assert all(step["total"] == FRAMES for step in steps)
    assert len(space.lender.workers) == FRAMES, "each slice has a frame, at least"
    assert visitor.masks() == whole


def test_stop_between_slices_keeps_what_is_done(space, visitor):
    space.slice.write_text("0")
    space.lender.answers = [None, (newest_session(space).parent / "stop").touch]
    assert visitor.run()[-1]["done"] == 2
    assert visitor.run()[-1]["total"] == FRAMES - 2, "the rest"


def test_a_worker_that_is_killed_costs_no_slice_that_was_done(space, visitor):
    space.slice.write_text("0")
    lender = space.lender
    answer = lender.answer

    def kill_third(path: str, query: dict[str, str]) -> tuple[int, dict]:
        answered = answer(path, query)
        if path == "/allow" and len(lender.workers) == 3:
            os.kill(lender.workers[-1], signal.SIGKILL)
        return answered

    lender.answer = kill_third
    try:
        assert "GPU was taken back before this part was done" in refusal(visitor.run)
    finally:
        lender.answer = answer
    visitor.paint(3, space.masks[1])  # nothing is held
    visitor.client.predict(api_name="/undo")
    steps = visitor.run()
    assert steps[-1]["done"] == steps[-1]["total"] == FRAMES - 2


def test_a_refusal_says_in_plain_words_what_is_left_and_loses_nothing(space, visitor):
    space.slice.write_text("0")
    space.lender.answers = [None, 11]
    said = refusal(visitor.run)
    assert "11 s are left" in said and "takes up to 15 s" in said and "2 minutes a day without an account" in said
    assert "try again in 2:10:00" in said
    assert visitor.run()[-1]["total"] == FRAMES - 1


def test_what_is_left_of_a_share_is_used(space, visitor):
    space.slice.write_text("45")
    space.lender.answers = [40]
    assert visitor.run()[-1]["done"] == FRAMES
    assert space.lender.asked == [60, 40]


def test_what_fails_in_the_worker_is_said_on_the_page(space, visitor):
    """Of other errors than Gradio's, `spaces` hands on the name alone."""
    (newest_session(space) / "video.mp4").unlink()
    assert "There is no file or folder 'video.mp4'" in refusal(visitor.run)


def test_garbage_with_decoders_in_it_does_not_hold_up_the_worker(tmp_path, clip):
    """A process that was forked waits for ever where it frees a decoder whose threads it does not have."""
    pytest.importorskip("spaces", reason="the package of Hugging Face's Spaces is not installed (extra dev)")
    program = """
        import gc, os, sys
        gc.disable()
        import demo.runs.zero
        from xmem.video import FrameReader

        class Held:
            pass

        def opened():
            held = Held()
            held.reader, held.itself = FrameReader(sys.argv[1]), held
            next(held.reader)
            return held

        opened()  # garbage before the fork
        kept = opened()
        worker = os.fork()
        if worker == 0:
            kept = None  # garbage behind it
            gc.collect()
            os._exit(7)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]))
    """
    environment = os.environ | {"SPACES_ZERO_GPU": "1", "SPACES_ZERO_DEVICE_API_URL": "http://127.0.0.1:9"}
    command = [sys.executable, "-c", textwrap.dedent(program), str(clip)]
    with subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True) as child:
        try:
            assert child.wait(timeout=120) == 7
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            pytest.fail("The worker waits for threads of decoders that it does not have.")


# Without the package


@pytest.fixture
def lent(monkeypatch):
    monkeypatch.setattr(zero, "spaces", object())


def test_no_call_asks_for_more_than_a_minute(lent):
    seconds = [zero.slice_seconds(expected) for expected in (0, 3, 20, 36, 37, 1e6)]
    assert seconds == [5, 5, 25, 45, 45, 45]
    assert max(seconds) + zero.START_SECONDS <= 60


def test_without_a_lender_a_run_is_one_slice():
    assert zero.slice_seconds(1e6) == math.inf
    assert zero.on_gpu(lambda: 1)(len) is len


def test_what_a_run_counts_of_a_share():
    assert zero.counted(30) == 68 and zero.counted(90) == 180


@pytest.mark.parametrize(
    ("title", "message", "said"),
    [
        ("ZeroGPU illegal duration", "The requested GPU duration", "trim the video"),
        ("ZeroGPU queue timeout", "No GPU was available after 60s", "within a minute"),
        ("ZeroGPU client error", "No GPU was available", "No GPU is free"),
        ("ZeroGPU quota exceeded", "Space app has reached its GPU limit. ", "used up (2 minutes a day"),
        ("Anything new", "of tomorrow", "did not answer"),
    ],
)
def test_refusals_are_in_plain_words(title, message, said):
    refused = zero._refusal(gr.Error(message, title=title))
    assert said in str(refused) and refused.shorter(45) is None


def test_a_share_that_is_nearly_used_up_gives_no_slice():
    assert zero.Refused("", left=25, asked=90).shorter(45) is None
    assert zero.Refused("", left=60, asked=90).shorter(45) == 25
    assert zero.Refused("", left=90, asked=90).shorter(45) is None, "it was refused all the same"


def test_parts_of_a_run_count_together():
    both = Progress(done=2, total=5, seconds=1.0).behind(Progress(done=7, total=12, seconds=3.0))
    assert (both.done, both.total, both.seconds) == (9, 12, 4.0)
