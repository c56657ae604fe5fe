"""A device whose memory is full: the run goes on in smaller pieces with the same numbers, or ends in one sentence.

Memory runs out where a test says so: in a network asked for too many objects at a time, in too many distances, or
once in any one place.
"""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.session.scene import COUNT, images, square
from tests.video.clips import write_clip
from xmem import InputError, MemoryConfig, Propagator, Session, TrackSettings, segment_video
from xmem.device import is_out_of_memory
from xmem.engine import propagator as propagator_module
from xmem.memory import memory as memory_module
from xmem.memory import store as store_module
from xmem.video import FrameReader

CONFIG = MemoryConfig(mem_every=2, top_k=9, min_working_frames=2, max_working_frames=3, prototypes=5, max_long_term=12)
HEIGHT, WIDTH, FRAMES = 48, 64, 12
PLACES = ["encode_key", "distance", "read_values", "decode", "encode_value", "prepare_memory", "consolidate"]


def video() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)


def masks() -> dict[int, np.ndarray]:
    """Two objects, a third one on frame 5, whose id comes before theirs."""
    first, late = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    first[4:20, 4:24], first[24:44, 30:60], late[6:22, 34:56] = 2, 3, 1
    return {0: first, 5: late}


def run(engine: Propagator, count: int = FRAMES) -> list[torch.Tensor]:
    given = masks()
    return [engine.step(frame, given.get(t)).clone() for t, frame in enumerate(video()[:count])]


def state(engine: Propagator) -> list[torch.Tensor]:
    """All that the engine holds between frames."""
    store = engine.memory._store
    columns = [store.column(name).clone() for name in ("key", "prepared", "shrinkage", "usage", "selection")]
    return [*columns, *(group.values.rows.clone() for group in store.groups), engine.memory.sensory.clone()]


def agree(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.allclose(a, b, atol=1e-5) for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def plain(tiny_model) -> SimpleNamespace:
    """What a run with memory enough gives: its results, and what it holds at the end."""
    engine = Propagator(tiny_model, CONFIG)
    return SimpleNamespace(results=run(engine), state=state(engine))


@pytest.fixture
def full(tiny_model, monkeypatch):
    """A network that has memory for `full.objects` objects at a time and `full.distances`; None = for all."""

    room = SimpleNamespace(objects=None, distances=None, asked=[])  # asked: objects at a time, of each call

    def limited(function, objects_of):
        def call(*args):
            at_once = min(args[-1].objects or 99, objects_of(args))
            room.asked.append(at_once)
            if room.objects is not None and at_once > room.objects:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return function(*args)

        return call

    original = memory_module.distance

    def distance(query, memory, out=None):
        if room.distances is not None and len(query) * len(memory) > room.distances:
            raise RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)")
        return original(query, memory, out)

    monkeypatch.setattr(tiny_model, "decode", limited(tiny_model.decode, lambda args: args[1].shape[1]))
    monkeypatch.setattr(tiny_model, "encode_value", limited(tiny_model.encode_value, lambda args: args[2].shape[1]))
    monkeypatch.setattr(memory_module, "distance", distance)
    monkeypatch.setattr(memory_module, "SMALLEST_CHUNK_ELEMENTS", 8)
    return room


@pytest.mark.parametrize(("objects", "distances"), [(2, None), (1, None), (None, 200), (1, 90)])
def test_smaller_pieces_give_the_same_numbers(tiny_model, plain, full, objects, distances, caplog):
    """With an object that arrives late, consolidations on the way, and one sentence in the log."""
    full.objects, full.distances = objects, distances
    engine = Propagator(tiny_model, CONFIG)
    with caplog.at_level(logging.WARNING, "xmem"):
        found = run(engine)
    assert agree(found, plain.results)
    assert agree(state(engine), plain.state)
    assert [record.message for record in caplog.records] == [
        "The device's memory is full: the run goes on in smaller pieces, which takes longer."
    ]
    assert engine.memory.long_term_size == 12 and engine.objects == [1, 2, 3]
    if objects is not None:
        full.asked.clear()
        engine.step(video()[0])
        assert max(full.asked) <= objects, "what did not fit once is not tried again at each frame"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("frame", [5, 6, 8, 10])
def test_a_failed_try_changes_nothing_wherever_it_fails(tiny_model, plain, monkeypatch, place, frame):
    """Frames: a correction with a new object, a memory frame, and two with consolidations, the second at the limit."""
    owner = {"distance": memory_module, "read_values": memory_module, "prepare_memory": store_module}
    owner = owner.get(place, store_module.ElementStore if place == "consolidate" else tiny_model)
    original, failures = getattr(owner, place), []

    def fail_once(*args, **kwargs):
        if armed and not failures:
            failures.append(place)
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, place, fail_once)
    engine, found, given = Propagator(tiny_model, CONFIG), [], masks()
    for t, image in enumerate(video()):
        armed = t == frame
        found.append(engine.step(image, given.get(t)).clone())
    assert agree(found, plain.results) and agree(state(engine), plain.state)
    happens = {"encode_key", "distance", "read_values", "decode"}
    assert failures or place not in happens, "the test must have failed something"


@pytest.mark.parametrize("fails_for_good", [False, True])
def test_a_result_that_cannot_be_resized_leaves_the_step_undone(tiny_model, monkeypatch, fails_for_good):
    """What is held changes last: the same frame can be given again."""
    plain = Propagator(tiny_model, CONFIG, size=96)
    expected = run(plain, 7)
    engine = Propagator(tiny_model, CONFIG, size=96)
    found = run(engine, 6)
    before, original, failures = state(engine), propagator_module.resize_to_frame, []

    def resize(prob, shape):
        if fails_for_good or not failures:
            failures.append(shape)
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(prob, shape)

    monkeypatch.setattr(propagator_module, "resize_to_frame", resize)
    if fails_for_good:
        with pytest.raises(InputError, match="memory is full"):
            engine.step(video()[6])
        assert all(torch.equal(a, b) for a, b in zip(state(engine), before, strict=True)) and engine.frame_index == 5
        monkeypatch.setattr(propagator_module, "resize_to_frame", original)
    found.append(engine.step(video()[6]).clone())
    assert failures and agree(found, expected) and agree(state(engine), state(plain))


def test_a_consolidation_without_room_waits_and_the_frame_is_done(tiny_model, monkeypatch, caplog):
    engine, original = Propagator(tiny_model, CONFIG), store_module.ElementStore.consolidate

    def full(*_args):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(store_module.ElementStore, "consolidate", full)
    expected = run(engine, 5)
    assert len(expected) == 5 and engine.memory.long_term_size == 0
    assert "tried again later" in caplog.text
    monkeypatch.setattr(store_module.ElementStore, "consolidate", original)
    engine.step(video()[5])
    assert engine.memory.long_term_size > 0


def test_where_the_smallest_pieces_do_not_fit_a_smaller_size_is_named(tiny_model, full):
    """The engine is as before that frame: with room again, it goes on as if nothing had been."""
    expected = run(Propagator(tiny_model, CONFIG))
    engine, given = Propagator(tiny_model, CONFIG), masks()
    found = [engine.step(frame, given.get(t)).clone() for t, frame in enumerate(video()[:5])]
    before, use = state(engine), engine.memory_use()
    full.objects = 0
    with pytest.raises(InputError, match="full at 48 pixels, even in the smallest pieces: choose fewer objects"):
        engine.step(video()[5], given[5])
    assert agree(state(engine), before) and engine.memory_use() == use and engine.objects == [2, 3]
    large = Propagator(tiny_model, CONFIG, size=400)
    with pytest.raises(InputError, match=r"at 400 pixels.*choose a smaller size, such as 384 pixels"):
        large.step(video()[0], given[0])
    full.objects = None
    found += [engine.step(frame, given.get(t)).clone() for t, frame in enumerate(video()) if t >= 5]
    assert agree(found, expected)


def test_key_frames_are_remembered_in_smaller_pieces_too(tiny_model, full):
    results = []
    for full.objects in (None, 1):
        engine, given = Propagator(tiny_model, CONFIG), masks()
        engine.remember(video()[0], given[0])
        engine.remember(video()[5], given[5])
        results.append([*state(engine), engine.step(video()[7]).clone()])
    assert agree(*results)


def test_other_errors_are_not_taken_for_a_full_memory(tiny_model, monkeypatch):
    def decode(*_args):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    engine = Propagator(tiny_model, CONFIG)
    run(engine, 1)
    monkeypatch.setattr(tiny_model, "decode", decode)
    with pytest.raises(RuntimeError, match="illegal"):
        engine.step(video()[1])
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value), "a CPU's own words for it"


def test_a_video_keeps_what_is_done(tiny_model, full, tmp_path):
    """The mask files and the film are whole up to there."""
    clip, done = write_clip(tmp_path / "clip.mp4", images(8)), []
    with pytest.raises(InputError, match="memory is full"):
        for result in segment_video(clip, {0: square(4)}, tmp_path / "out", model=tiny_model, size=None):
            done.append(result.index)
            full.objects = 0 if result.index >= 4 else None
    assert done[:5] == [0, 1, 2, 3, 4]
    for index in done:
        with Image.open(tmp_path / "out" / "masks" / f"{index:05d}.png") as image:
            assert image.size == (96, 64)
    with FrameReader(tmp_path / "out" / "overlay.mp4") as reader:
        assert len(list(reader)) >= 5


def test_a_session_keeps_what_is_done_and_goes_on(tiny_model, full, tmp_path):
    session = Session.create(write_clip(tmp_path / "clip.mp4", images()), tmp_path / "work")
    session.set_key_frame(0, square(4))
    settings, done = TrackSettings(size=None, memory=MemoryConfig(mem_every=2)), []
    with pytest.raises(InputError, match="memory is full"):
        for step in session.propagate(settings, tiny_model):
            done.append(step.frame)
            full.objects = 0 if step.frame == 9 else None
    session = Session.open(tmp_path / "work")
    assert all(session.has_result(frame) for frame in done) and len(done) >= 10
    full.objects = None
    assert session.pending() and len(list(session.propagate(settings, tiny_model))) == COUNT - len(done)
    assert session.pending() == []
