"""Frames encoded ahead, and what two threads share: the same numbers, whatever comes when."""

import threading

import numpy as np
import pytest
import torch

import xmem
from xmem import InputError
from xmem.engine.halves import FRAMES_AHEAD, Halves, two_halves
from xmem.engine.pipeline import with_upcoming
from xmem.engine.propagator import Propagator
from xmem.networks.xmem import XMem, xmem_sizes

SIZE = 96


@pytest.fixture(scope="module")
def lite():
    return xmem.load_model("xmem-lite", "cpu")


@pytest.fixture
def cores(monkeypatch):
    """Two threads for torch, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def moving_objects(count: int, objects: int):
    """Frames uint8 [96, 160, 3] in which that many squares move right, and the first one's index mask."""
    noise = np.random.default_rng(0).integers(0, 60, (SIZE, 160, 3), dtype=np.uint8)
    frames, mask = [], np.zeros((SIZE, 160), np.uint8)
    for t in range(count):
        frame = noise.copy()
        for i in range(objects):
            y, x = 8 + 28 * i, 10 + 4 * t
            frame[y : y + 20, x : x + 24] = (220 - 60 * i, 80 * i, 120)
            if not t:
                mask[y : y + 20, x : x + 24] = i + 1
        frames.append(frame)
    return frames, mask


def run(model, frames, masks, look, **settings):
    """Probabilities of every frame, each with as many known to come as `look` says."""
    engine = Propagator(model, xmem.MemoryConfig(mem_every=2, **settings))
    results = []
    for i, frame in enumerate(frames):
        results.append(engine.step(frame, masks.get(i), upcoming=frames[i + 1 : i + 1 + look]).clone())
    return results, engine


@pytest.mark.parametrize("objects", [1, 3])
def test_frames_known_ahead_give_the_same_masks(lite, cores, objects):
    frames, mask = moving_objects(14, objects)
    settings = {"min_working_frames": 2, "max_working_frames": 4, "prototypes": 16}
    plain, _ = run(lite, frames, {0: mask}, 0, **settings)
    ahead, engine = run(lite, frames, {0: mask}, FRAMES_AHEAD, **settings)
    assert engine.frames_ahead == FRAMES_AHEAD
    assert engine.memory.long_term_size > 0, "a consolidation happened, which the use of the elements decides"
    assert plain[-1].shape[0] == objects + 1
    for one, other in zip(plain, ahead, strict=True):
        torch.testing.assert_close(other, one, atol=1e-4, rtol=0)


def test_masks_given_later_and_objects_that_join_meet_frames_encoded_ahead(lite, cores):
    frames, mask = moving_objects(9, 3)
    masks = {1: np.where(mask == 1, 1, 0).astype(np.uint8), 4: np.where(mask == 3, 7, 0).astype(np.uint8)}
    plain, _ = run(lite, frames, masks, 0)
    ahead, engine = run(lite, frames, masks, FRAMES_AHEAD)
    assert engine.objects == [1, 7]
    for one, other in zip(plain, ahead, strict=True):
        torch.testing.assert_close(other, one, atol=1e-4, rtol=0)


def test_a_frame_that_was_announced_but_never_comes_does_no_harm(lite, cores):
    frames, mask = moving_objects(8, 1)
    expected, _ = run(lite, [frames[0], *frames[4:]], {0: mask}, 0)
    engine = Propagator(lite, xmem.MemoryConfig(mem_every=2))
    found = [engine.step(frames[0], mask, upcoming=frames[1:4])]
    found += [engine.step(frame, upcoming=frames[5:7]) for frame in frames[4:]]
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, atol=1e-4, rtol=0)


def test_an_upcoming_frame_of_another_size_is_refused_when_its_turn_comes(lite, cores):
    frames, mask = moving_objects(2, 1)
    engine = Propagator(lite)
    engine.step(frames[0], mask, upcoming=[frames[1][:48]])
    with pytest.raises(InputError, match="frame size changed"):
        engine.step(frames[1][:48])
    assert engine.step(frames[1]).shape == (2, SIZE, 160), "the refused frame has changed nothing"


def test_a_step_that_fails_beside_an_encoder_can_be_done_again(lite, cores, monkeypatch):
    frames, mask = moving_objects(6, 1)
    expected, _ = run(lite, frames, {0: mask}, 0)
    engine = Propagator(lite, xmem.MemoryConfig(mem_every=2))
    engine.step(frames[0], mask, upcoming=frames[1:4])
    with monkeypatch.context() as patch:
        patch.setattr(lite, "decode", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            engine.step(frames[1], upcoming=frames[2:5])
    found = [engine.step(frame, upcoming=frames[i + 1 : i + 4]) for i, frame in enumerate(frames) if i]
    for one, other in zip(expected[1:], found, strict=True):
        torch.testing.assert_close(other, one, atol=1e-4, rtol=0)


def test_an_error_of_the_encoder_comes_at_the_frame_that_has_it(lite, cores, monkeypatch):
    frames, mask = moving_objects(4, 1)
    engine = Propagator(lite)
    plain = lite.encode_key
    monkeypatch.setattr(lite, "encode_key", lambda image: plain(image) if image.amax() < 2.5 else 1 / 0)
    frames[2] = np.full_like(frames[2], 255)
    engine.step(frames[0], mask, upcoming=frames[1:])
    engine.step(frames[1], upcoming=frames[2:])
    with pytest.raises(ZeroDivisionError):
        engine.step(frames[2], upcoming=frames[3:])


def test_the_callers_number_of_threads_and_that_of_new_threads_stay(lite, cores):
    frames, mask = moving_objects(3, 1)
    run(lite, frames, {0: mask}, FRAMES_AHEAD)
    numbers = [torch.get_num_threads()]
    other = threading.Thread(target=lambda: numbers.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert numbers == [2, 2]


def test_each_half_has_half_of_the_threads(cores):
    halves = Halves(5)
    try:
        numbers = [halves.run(torch.get_num_threads), halves.later(torch.get_num_threads).result()]
    finally:
        torch.set_num_threads(2)
    assert numbers == [3, 2]


def test_one_core_does_without(cores):
    torch.set_num_threads(1)
    assert two_halves() is None


def test_xmem_itself_keeps_all_cores_for_each_layer(cores):
    assert Propagator(XMem(xmem_sizes())).frames_ahead == 0


def test_shared_calls_are_each_made_once_and_results_keep_their_order(cores):
    halves, made = two_halves(), []

    def call(i: int, half: int) -> int:
        made.append((i, half, threading.current_thread().name))
        return i * i

    results = halves.run(lambda: halves.share(call, 40))
    assert results == [i * i for i in range(40)]
    assert sorted(i for i, _, _ in made) == list(range(40))
    threads = {half: {name for _, own, name in made if own == half} for half in (0, 1)}
    assert all(len(names) <= 1 for names in threads.values()) and threads[0] != threads[1]


def test_what_is_shared_comes_before_what_is_for_later(cores):
    halves, order, gate = two_halves(), [], threading.Event()
    busy = halves.later(gate.wait)
    later = halves.later(lambda: order.append("later"))

    def call(i: int, half: int) -> None:
        if half:
            order.append("shared")
        else:
            gate.set()  # the second thread is free now, and has both before it
            while not order:
                pass

    halves.run(lambda: halves.share(call, 2))
    later.result()
    assert busy.result() and order == ["shared", "later"]


def test_an_error_in_a_shared_call_ends_them_all_before_it_is_raised(cores):
    halves, running = two_halves(), []

    def call(i: int, half: int) -> None:
        running.append(i)
        if i == 3:
            raise ValueError("the fourth")

    with pytest.raises(ValueError, match="the fourth"):
        halves.run(lambda: halves.share(call, 4))
    assert halves.run(lambda: halves.share(lambda i, _: i, 3)) == [0, 1, 2], "both threads go on"


def test_items_come_with_those_after_them():
    assert list(with_upcoming("abcd", 2)) == [
        ("a", ["b", "c"]),
        ("b", ["c", "d"]),
        ("c", ["d"]),
        ("d", []),
    ]
    assert list(with_upcoming("ab", 0)) == [("a", []), ("b", [])]
    assert list(with_upcoming("", 3)) == []


def test_an_error_among_items_comes_after_the_items_before_it():
    def items():
        yield from "ab"
        raise OSError("unreadable")

    seen = []
    with pytest.raises(OSError, match="unreadable"):
        for item, _ in with_upcoming(items(), 3):
            seen.append(item)
    assert seen == ["a", "b"]
