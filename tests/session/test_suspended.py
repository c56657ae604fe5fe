"""A run that was stopped, or killed, goes on where it was: nothing is computed twice, and nothing differs."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace

import numpy as np
import pytest

from tests.session.scene import COUNT, SETTINGS, square
from xmem import InputError
from xmem.session import Session, suspended
from xmem.session.suspended import STATE

FORWARD = replace(SETTINGS, direction="forward")


def with_key_frames(session: Session, *frames: int) -> Session:
    for frame in frames:
        session.set_key_frame(frame, square(4 + 2 * frame))
    return session


def run(session: Session, network, settings=SETTINGS, stop_after: int | None = None, **options) -> list:
    """The steps of a run, which is stopped after some of them."""
    steps, done = session.propagate(settings, network, **options), []
    for step in steps:
        done.append(step)
        if len(done) == stop_after:
            steps.close()
    return done


def results(session: Session) -> list:
    """All that is stored of each frame."""
    owners = session._owners
    return [(owners[f].mask(f), owners[f].probabilities(f)) for f in range(COUNT) if owners[f] is not None]


def alike(one: list, other: list) -> bool:
    pairs = zip(one, other, strict=True)
    return all(np.array_equal(a, b) for frames in pairs for a, b in zip(*frames, strict=True))


@pytest.fixture
def other(session, tmp_path):
    return Session.create(session.video, tmp_path / "other")


@pytest.mark.parametrize("stop_after", [1, 9, 12, 17, 24, 30, 35])
def test_a_stopped_run_goes_on_behind_its_last_frame_with_the_same_results(session, other, network, stop_after):
    """In either pass of a span between key frames, in the span behind it, and just where one of them begins or ends."""
    whole = run(with_key_frames(other, 0, 12), network)
    first = run(with_key_frames(session, 0, 12), network, stop_after=stop_after)
    assert session.suspended(SETTINGS) == 0 or session.pending(SETTINGS)
    session = Session.open(session.folder)  # as another process would
    rest = run(session, network)
    assert [step.frame for step in [*first, *rest]] == [step.frame for step in whole], "no frame twice"
    assert rest[-1].done == rest[-1].total
    assert alike(results(session), results(other))
    assert session.stats() == pytest.approx(other.stats()) or _figures(session) == pytest.approx(
        _figures(other), abs=1e-3
    )


def _figures(session: Session) -> list[float]:
    return [value for row in session.stats() for value in (row.area, row.certainty)]


def test_how_much_need_not_be_done_again_is_told_before_the_run(session, network):
    run(with_key_frames(session, 0), network, FORWARD, stop_after=7)
    assert Session.open(session.folder).suspended(FORWARD) == 7
    run(session, network, FORWARD)
    assert session.suspended(FORWARD) == 0 and not list(session.folder.rglob(STATE))


def test_starting_over_computes_all_again(session, network):
    run(with_key_frames(session, 0), network, FORWARD, stop_after=7)
    assert len(run(session, network, FORWARD, start_over=True)) == COUNT


def test_other_settings_do_not_go_on_with_the_run(session, network):
    run(with_key_frames(session, 0), network, FORWARD, stop_after=7)
    changed = replace(FORWARD, memory=replace(FORWARD.memory, mem_every=3))
    assert session.suspended(changed) == 0 and len(run(session, network, changed)) == COUNT


def test_after_a_correction_the_run_begins_at_the_key_frames_beside_it(session, network):
    run(with_key_frames(session, 0), network, FORWARD, stop_after=9)
    session.set_key_frame(5, square(30, 30))
    assert session.suspended(FORWARD) == 0 and len(run(session, network, FORWARD)) == COUNT


def test_another_network_starts_over_and_says_so(session, network, caplog):
    from xmem.networks.xmem import XMem, lite_sizes

    run(with_key_frames(session, 0), network, FORWARD, stop_after=5)
    other = XMem(lite_sizes()).eval().requires_grad_(False)
    assert len(run(session, other, FORWARD)) == COUNT
    assert "does not go on from where it was left" in caplog.text


def test_a_damaged_state_starts_over(session, network, caplog):
    run(with_key_frames(session, 0), network, FORWARD, stop_after=5)
    (state,) = session.folder.rglob(STATE)
    state.write_bytes(state.read_bytes()[:200])
    assert session.suspended(FORWARD) == 0
    assert len(run(session, network, FORWARD)) == COUNT


def test_an_error_in_mid_run_leaves_a_run_to_go_on_with(session, network, monkeypatch):
    whole, count = network.decode, []

    def fails(*args):
        count.append(1)
        if len(count) == 6:
            raise InputError("The device's memory is full.")
        return whole(*args)

    with_key_frames(session, 0)
    monkeypatch.setattr(network, "decode", fails)
    with pytest.raises(InputError):
        run(session, network, FORWARD)
    assert session.suspended(FORWARD) == 6
    assert len(run(session, network, FORWARD)) == COUNT - 6


SCRIPT = textwrap.dedent(
    """
    import sys, torch
    from tests.session.scene import SETTINGS
    from tests.tiny_model import tiny_state
    from xmem.networks.xmem import load_state
    from xmem.session import Session, suspended

    suspended.SAVE_SECONDS = 0.0
    network, under_way = load_state(tiny_state()), []
    for folder, after in zip(sys.argv[1::2], sys.argv[2::2]):
        under_way.append(Session.open(folder).propagate(SETTINGS, network))
        for _ in range(int(after) + 1):
            next(under_way[-1])
    print("there", flush=True)
    sys.stdin.read()
    """
)


def test_a_killed_run_goes_on_from_its_last_state_with_the_same_results(session, other, tmp_path):
    """Of two runs in one process one is in the forward pass, one in the backward pass, which has blended some frames
    already."""
    from tests.tiny_model import tiny_state
    from xmem.networks.xmem import load_state

    network = load_state(tiny_state())
    run(with_key_frames(other, 0, 12), network)
    killed = {6: with_key_frames(session, 0, 12)}
    killed[18] = with_key_frames(Session.create(session.video, tmp_path / "second"), 0, 12)
    words = [sys.executable, "-c", SCRIPT, *(str(w) for after, each in killed.items() for w in (each.folder, after))]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=os.getcwd())
    assert process.stdout.readline() == b"there\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    for after, each in killed.items():
        again = Session.open(each.folder)
        assert again.suspended(SETTINGS) >= (after - 1) // 2, "of two passes, one"
        run(again, network)
        assert alike(results(again), results(other))


def test_a_state_is_written_every_few_seconds_not_at_every_frame(session, network, monkeypatch):
    written, save = [], suspended.Saving._save
    monkeypatch.setattr(suspended.Saving, "_save", lambda self: written.append(1) or save(self))
    run(with_key_frames(session, 0), network, FORWARD)
    assert len(written) == 1, "on leaving the pass, and there was nothing to save"


def test_a_full_disk_is_a_sentence_and_no_state_claims_what_is_not_written(session, network, monkeypatch):
    """Frame 5 fails while later ones are being written beside it: the run goes on no later than at frame 5."""
    from xmem.session import results as store

    beside, written = threading.Event(), []
    plain = store.write_compact_mask

    def fails(path, mask):
        frame = int(path.stem)
        if frame == 5:
            beside.wait(10)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if frame == 6:
            beside.set()
        written.append(frame)
        plain(path, mask)

    monkeypatch.setattr(store, "allowed_cores", lambda: 2)
    monkeypatch.setattr(store, "write_compact_mask", fails)
    with_key_frames(session, 0)
    with pytest.raises(InputError, match="disk is full"):
        run(session, network, FORWARD)
    assert 6 in written and not list(session.folder.rglob("*.part"))
    monkeypatch.undo()
    session = Session.open(session.folder)
    assert session.suspended(FORWARD) <= 5
    run(session, network, FORWARD)
    assert all(session.has_result(frame) for frame in range(COUNT)) and not session.pending(FORWARD)
