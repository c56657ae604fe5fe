"""Runs of the page by workers: threads that play them, and once Ray's own."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path

import pytest
from demo_clips import index_of

import xmem
from demo.failures import Logged, as_values, raised
from demo.html.progress import Progress
from demo.runs import models, run, turn, workers
from demo.runs.workers import WORKERS, Device
from tests.demo.gated_slice import GATE, PID, SEEN_AT, gated_slice
from tests.scale.gated import real
from xmem.scale.pool import ATTEMPTS, WorkerDied, name_of
from xmem.session import Session, TrackSettings

FRAMES, BOX = 12, (1, 60, 90, 40, 120)


class Stage:
    """Workers that are played by this process. dying: for each work that begins, the item behind which it dies. loses:
    nothing was saved before."""

    count = 2

    def __init__(self, *dying: int, loses: bool = False) -> None:
        self.dying, self.loses, self.begun = list(dying), loses, []

    def stream(self, name: str, work: str, arguments: tuple) -> Iterator:
        assert name == name_of(workers.in_worker)
        self.begun.append(work)
        module, function = work.split(":")
        function = getattr(import_module(module), function)
        at = self.dying.pop(0) if self.dying else 0
        with closing(as_values(getattr(function, "__wrapped__", function)(*arguments))) as items:
            for number, item in enumerate(items, 1):
                yield item
                if number == at:
                    break
            else:
                return
        for state in Path(arguments[0]).rglob("state.safetensors") if self.loses else ():
            state.unlink()
        raise WorkerDied("gone")

    beside = stream

    def everywhere(self, *asked) -> list[list]:
        return [list(self.stream(*asked)) for _ in range(self.count)]


@pytest.fixture
def settings(listed) -> TrackSettings:
    return TrackSettings(listed, "cpu", 64, direction="forward", precision="float32")


@pytest.fixture
def work(session) -> Session:
    session.set_key_frame(0, index_of(BOX))
    return session


def steps(work: Session, settings: TrackSettings, **more) -> list[Progress]:
    return list(run.propagate_session(str(work.folder), str(work.folder.parent / "stop"), settings, **more))


def masks(work: Session) -> list[bytes]:
    found = Session.open(work.folder)
    return [found.mask(frame).tobytes() for frame in range(FRAMES)]


def played(monkeypatch, *dying: int, **more) -> Stage:
    stage = Stage(*dying, **more)
    monkeypatch.setattr(WORKERS, "pool", stage)
    return stage


def copy_of(work: Session, folder: Path) -> Session:
    shutil.copytree(work.folder, folder)
    return Session.open(folder)


def test_a_run_by_a_worker_is_a_run_here(work, settings, monkeypatch, tmp_path):
    alone = copy_of(work, tmp_path / "alone")
    here = [step.done for step in steps(alone, settings)]
    stage = played(monkeypatch)
    assert [step.done for step in steps(work, settings)] == here == list(range(1, FRAMES + 1))
    assert masks(work) == masks(alone) and stage.begun == ["demo.runs.run:_slice"]


@pytest.mark.parametrize(("loses", "again"), [(False, FRAMES - 5), (True, FRAMES)])
def test_a_worker_that_dies_is_replaced_and_the_run_goes_on_from_what_was_saved(
    work, settings, monkeypatch, loses, again
):
    stage = played(monkeypatch, 5, loses=loses)
    done = steps(work, settings)
    assert len(stage.begun) == 2
    assert [step.done for step in done] == [*range(1, 6), *range(FRAMES - again + 1, FRAMES + 1)]
    assert {step.total for step in done} == {FRAMES}
    seconds = [step.seconds for step in done]
    assert seconds == sorted(seconds), "what was lost took its time"


def test_what_ends_every_worker_is_said_and_what_is_done_is_kept(work, settings, monkeypatch):
    stage = played(monkeypatch, *[2] * ATTEMPTS)
    with pytest.raises(WorkerDied):
        steps(work, settings, start_over=True)
    assert len(stage.begun) == ATTEMPTS
    assert steps(work, settings)[-1].total == FRAMES - 2 * ATTEMPTS


def test_stop_ends_a_run_by_a_worker(work, settings, monkeypatch):
    played(monkeypatch)
    (work.folder.parent / "stop").touch()
    assert [step.done for step in steps(work, settings)] == [1]


def test_what_goes_wrong_in_a_worker_comes_as_a_sentence(work, settings, monkeypatch):
    def fails(sort: type[Exception]) -> Iterator:
        yield 1
        raise sort("why")

    users, others = list(as_values(fails(xmem.InputError))), list(as_values(fails(ValueError)))
    assert users[0] == others[0] == 1
    with pytest.raises(xmem.InputError, match="why"):
        raised(users[1])
    with pytest.raises(Logged, match="Something went wrong"):
        raised(others[1])


def test_the_page_offers_what_workers_have_and_lets_as_many_runs_go_on(monkeypatch, listed):
    stage = played(monkeypatch)
    WORKERS.begin(stage)
    try:
        assert stage.begun == ["demo.runs.models:devices"] * stage.count, "all begin with the server"
        assert models.device_choices() == [(each.label, each.name) for each in WORKERS.devices]
        monkeypatch.setattr(WORKERS, "devices", [Device("A GPU elsewhere", "cuda", "float16")])
        assert models.device_choices() == [("A GPU elsewhere", "cuda")] and models.there("cuda") == "cuda"
        assert "A GPU elsewhere, float16" in models.status()
        assert turn.line.__wrapped__()._at_once == stage.count
        assert models.is_ready()
    finally:
        WORKERS.end()
    assert turn.line.__wrapped__()._at_once == 1 and not WORKERS.count


def test_where_a_gpu_is_lent_by_the_call_workers_are_refused(monkeypatch):
    monkeypatch.setattr("demo.runs.zero.spaces", object())
    with pytest.raises(xmem.InputError, match="leave --workers out"), workers.working(None, 1):
        pass


@real
def test_a_worker_of_ray_that_is_killed_is_replaced_and_masks_are_the_same_bytes(work, settings, monkeypatch, tmp_path):
    alone = copy_of(work, tmp_path / "alone")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert len(steps(alone, settings)) == FRAMES
    monkeypatch.setattr(run, "_slice", gated_slice)
    killed, done, beside = None, [], work.folder.parent
    with workers.working(2, 1):
        assert [name for _, name in models.device_choices()] == ["cpu"]
        for step in run.propagate_session(str(work.folder), str(beside / "stop"), settings):
            done.append(step)
            if killed is None and step.done == SEEN_AT:
                killed = int((beside / PID).read_text())
                (beside / GATE).touch()
                os.kill(killed, signal.SIGKILL)
        assert run.estimate_session(str(work.folder), settings).seconds_per_frame > 0
    assert [step.done for step in done] == list(range(1, FRAMES + 1)), "it went on from its last state"
    assert int((beside / PID).read_text()) != killed
    assert masks(work) == masks(alone)
