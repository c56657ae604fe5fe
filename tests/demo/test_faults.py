"""What goes wrong with the machine: each time one sentence, what is done stays, and the server goes on."""

import errno
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import av
import gradio as gr
import pytest
import torch
from demo_clips import index_of, write_clip
from raw_visitor import RawVisitor, Refused
from tiny_model import tiny_state

from demo import api, failures
from demo.runs import models, rendering, track
from demo.stage import paint
from demo.tabs import exports
from demo.visit import keeping, studio
from xmem.session import Session

FIRST = (1, 60, 90, 40, 120)
NEEDS_DEV_FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")


@pytest.fixture
def painted_session(act, session, visitor, painted, monkeypatch) -> Session:
    monkeypatch.setattr("demo.runs.follow.HEARTBEAT_SECONDS", 0.02)
    act(paint.stroke, frame=0, mask=painted(FIRST), colors={})
    return session


@pytest.fixture
def held(monkeypatch):
    """Runs wait after their sixth frame until this event is set."""
    from xmem.engine.propagator import Propagator

    run, event = Propagator.run, threading.Event()

    def waiting(self, *args, **named):
        for number, item in enumerate(run(self, *args, **named)):
            yield item
            if number == 5:
                event.wait(60)

    monkeypatch.setattr(Propagator, "run", waiting)
    return event


def done(visitor) -> list[int]:
    session = studio.session_of(visitor)
    return [frame for frame in range(session.frame_count) if session.has_result(frame)]


def refusal(steps) -> str:
    """Run to the end, which is an error; its sentence."""
    with pytest.raises(gr.Error) as error:
        list(steps)
    return error.value.message


@NEEDS_DEV_FULL
def test_a_disk_that_fills_in_mid_run_is_said_and_the_run_goes_on_once_there_is_room(
    painted_session, held, visitor, chosen, tmp_path
):
    steps = track.run(visitor, "neighbours", *chosen)
    while "Frame" not in next(steps):
        pass
    (folder,) = painted_session.folder.glob("spans/*/masks")
    full = folder / "00011.part"
    full.symlink_to("/dev/full")  # every byte that is written there is refused as by a full disk
    held.set()
    assert "disk is full" in refusal(steps)
    kept = done(visitor)
    assert 1 < len(kept) < 12 and not studio.is_running(visitor)
    full.unlink(missing_ok=True)
    list(track.run(visitor, "neighbours", *chosen))
    assert done(visitor) == list(range(12))


@NEEDS_DEV_FULL
@pytest.mark.parametrize("table", ["project.part", "estimate.json", "run.json"])
def test_a_disk_that_is_full_where_tables_are_written_is_said(painted_session, visitor, chosen, table):
    place = painted_session.folder / table
    place.unlink(missing_ok=True)
    place.symlink_to("/dev/full")
    calls = {
        "project.part": lambda: failures.in_words()(api.set_trim)(1, 5, visitor),
        "estimate.json": lambda: failures.in_words()(api.estimate)(visitor, size=64),
        "run.json": lambda: list(track.run(visitor, "neighbours", *chosen)),
    }
    with pytest.raises(gr.Error, match="disk is full"):
        calls[table]()
    place.unlink(missing_ok=True)
    assert studio.session_of(visitor).last == 11
    assert len(list(failures.in_words()(api.propagate)(visitor, size=64))) >= 1


@NEEDS_DEV_FULL
def test_a_disk_that_fills_while_a_file_is_exported_is_said_and_leaves_nothing(
    painted_session, visitor, chosen, monkeypatch
):
    list(track.run(visitor, "neighbours", *chosen))
    workspace, made = studio.workspace_of(visitor), []
    mkdtemp = tempfile.mkdtemp

    def full(*args, **named):
        folder = mkdtemp(*args, **named)
        if ".export-" in folder:
            Path(folder, "export.csv").symlink_to("/dev/full")
            made.append(folder)
        return folder

    monkeypatch.setattr("tempfile.mkdtemp", full)
    assert "The disk is full" in refusal(exports.export_files(["csv"], visitor))
    assert made and not list(workspace.work.glob("files-*"))


@pytest.mark.parametrize(
    ("number", "sentence"),
    [(errno.EROFS, failures.READ_ONLY), (errno.EACCES, failures.READ_ONLY), (errno.EDQUOT, failures.DISK_FULL)],
)
def test_a_folder_that_cannot_be_written_to_is_said(painted_session, visitor, monkeypatch, number, sentence):
    """By the system's own numbers: whoever runs the tests may be allowed to write anywhere."""

    def refuse(*_):
        raise OSError(number, "no", "/secret/place")

    with monkeypatch.context() as patch, pytest.raises(gr.Error) as error:
        patch.setattr("xmem.session.project.os.replace", refuse)
        failures.in_words()(api.undo)(visitor)
    assert error.value.message == sentence and "secret" not in sentence
    assert studio.session_of(visitor).key_frames, "as it was"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_said(painted_session, visitor):
    painted_session.folder.chmod(0o500)
    try:
        with pytest.raises(gr.Error) as error:
            failures.in_words()(api.undo)(visitor)
        assert error.value.message == failures.READ_ONLY
    finally:
        painted_session.folder.chmod(0o700)


def test_a_session_that_is_deleted_in_mid_run_is_said_and_others_go_on(painted_session, held, visitor, chosen, clip):
    steps = track.run(visitor, "neighbours", *chosen)
    while "Frame" not in next(steps):
        pass
    shutil.rmtree(painted_session.folder)
    held.set()
    assert refusal(steps) == failures.GONE
    assert not studio.has_session(visitor) and not studio.is_running(visitor)
    studio.begin_session(visitor, clip).set_key_frame(0, index_of(FIRST))
    list(track.run(visitor, "neighbours", *chosen))
    assert done(visitor) == list(range(12))


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), failures.MEMORY_FULL),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
            failures.MEMORY_FULL,
        ),
        (MemoryError(), failures.MEMORY_FULL),
        (RuntimeError("secret"), failures.UNEXPECTED),
    ],
)
def test_a_network_that_fails_in_mid_run_keeps_what_is_done(
    painted_session, visitor, chosen, monkeypatch, error, sentence
):
    from xmem.engine.propagator import Propagator

    run = Propagator.run

    def failing(self, *args, **named):
        for number, item in enumerate(run(self, *args, **named)):
            if number == 5:
                raise error
            yield item

    with monkeypatch.context() as patch:
        patch.setattr(Propagator, "run", failing)
        assert refusal(track.run(visitor, "neighbours", *chosen)) == sentence
    assert done(visitor) == list(range(5))
    list(track.run(visitor, "neighbours", *chosen))
    assert done(visitor) == list(range(12))


@pytest.mark.parametrize("kind", ["overlay", "gif"])
def test_an_encoder_that_fails_is_said_and_masks_can_still_be_taken_away(
    painted_session, visitor, chosen, monkeypatch, kind
):
    list(track.run(visitor, "neighbours", *chosen))

    def fail(*_):
        raise av.error.ExternalError(-542398533, "Generic error in an external library")

    monkeypatch.setattr("xmem.video.writer.VideoWriter._mux", fail)
    monkeypatch.setattr("xmem.export.animations._Animation.write", fail)
    assert "encoder of this kind of video failed" in refusal(exports.export_files([kind], visitor))
    *_, last = exports.export_files(["index_png", "csv"], visitor)
    assert len(last[1]) == 2 and not list(studio.workspace_of(visitor).work.glob("files-*"))


def test_a_video_that_is_damaged_at_frame_500_gives_what_is_before_the_damage(
    visitor, workspaces, chosen, tmp_path, monkeypatch
):
    monkeypatch.setattr("demo.runs.follow.HEARTBEAT_SECONDS", 0.02)
    path = write_clip(tmp_path / "long.mp4", 64, 48, 520)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as file:
        places = [(packet.pos, packet.size) for packet in file.demux(video=0) if packet.size]
    for at, size in places[500:]:  # in the order of decoding, which is a little ahead of that of showing
        data[at + 4 : at + size] = b"\xff" * (size - 4)
    path.write_bytes(data)
    session = studio.begin_session(visitor, path)
    session.set_trim(485, 519)
    session.set_key_frame(486, index_of((1, 10, 30, 10, 40), size=(48, 64)))
    said = "".join(track.run(visitor, "neighbours", *chosen))
    assert "is damaged: only 49" in said and "What is before is done." in said
    *_, told = api.propagate(visitor, chosen[0], 48, memory=chosen[3])
    assert "is damaged: only 49" in told["note"], "programs are told the same"
    assert done(visitor)[:11] == list(range(485, 496))
    with rendering.rendered(studio.session_of(visitor), studio.workspace_of(visitor)) as path:
        assert path.stat().st_size


def test_a_clock_that_jumps_ends_no_run_and_no_session(painted_session, held, visitor, workspaces, chosen, monkeypatch):
    workspaces.sweep()
    steps = track.run(visitor, "neighbours", *chosen)
    while "Frame" not in next(steps):
        pass
    now, used = time.time, keeping._used
    for days in (400, -400, 0):
        jump, jumped = days * 86400, now() - 0.05  # the clock of files is a little late

        def used_by_that_clock(path, jump=jump, jumped=jumped):
            """What the run has written since has the time of the clock that was set, which it cannot be here."""
            return used(path) + jump * (jumped <= used(path) < jumped + 3600)

        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda jump=jump: now() + jump)
            patch.setattr(keeping, "_used", used_by_that_clock)
            workspaces.sweep_passing()
            workspaces.sweep()
            held.set()
            list(steps)
    assert done(visitor) == list(range(12))


def test_weights_that_are_cut_or_no_numbers_are_refused_at_the_start(tmp_path, monkeypatch, caplog):
    from safetensors.torch import save_file

    state = tiny_state()
    path = tmp_path / "tiny.safetensors"
    save_file(state, path)
    path.write_bytes(path.read_bytes()[:-1000])
    monkeypatch.setenv("XMEM_MODEL", str(path))
    assert "truncated or damaged" in models.place()
    name = next(name for name, value in state.items() if value.is_floating_point())
    state[name].view(-1)[0] = float("nan")
    save_file(state, path)
    monkeypatch.setenv("XMEM_MODEL", str(path))
    assert "are no numbers" in models.place()
    assert os.environ.get("XMEM_MODEL") is None, "the embedded one takes its place"
    assert models.place() == ""


def test_weights_whose_file_goes_bad_in_mid_run_are_there_already(
    painted_session, held, visitor, chosen, tmp_path, monkeypatch
):
    """The run ends with what it has; the next one says what became of the file, and one after its mend takes it."""
    monkeypatch.setattr("demo.runs.models.MODELS", models.ModelCache())
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path))
    whole = Path(chosen[0]).read_bytes()
    (tmp_path / "xmem-lite.safetensors").write_bytes(whole)
    path = tmp_path / "own.safetensors"
    path.write_bytes(whole)
    chosen[0] = path.name
    steps = track.run(visitor, "neighbours", *chosen)
    while "Frame" not in next(steps):
        pass
    os.truncate(path, 1000)
    held.set()
    assert "xmem-lite" not in "".join(steps)
    assert done(visitor) == list(range(12))
    studio.session_of(visitor).set_key_frame(6, index_of(FIRST))
    said = "".join(track.run(visitor, "neighbours", *chosen))
    assert "own.safetensors is truncated or damaged" in said and "goes on with xmem-lite" in said
    path.write_bytes(whole)
    studio.session_of(visitor).set_key_frame(9, index_of(FIRST))
    assert "xmem-lite" not in "".join(track.run(visitor, "neighbours", *chosen))
    assert done(visitor) == list(range(12))


def test_every_endpoint_answers_in_words(address):
    """Null in place of whatever it takes, and things of other kinds: never an error without a sentence."""
    visitor = RawVisitor(address, timeout=60)
    events = [each for each in visitor.config["dependencies"] if each["api_visibility"] == "public"]
    assert len(events) > 20
    for event in events:
        if event["api_name"] == "open_sample":
            continue
        for value in (None, {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}):
            try:
                visitor.ask(event["api_name"], *[value] * len(event["inputs"]))
            except Refused as error:
                assert str(error) not in ("None", "") and "/etc" not in str(error), event["api_name"]
