"""A run that is suspended at any frame goes on elsewhere as if it had never paused."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from xmem import InputError, MemoryConfig, Propagator
from xmem.engine.state import EngineState, fingerprint
from xmem.networks.xmem import XMem, lite_sizes

CONFIG = MemoryConfig(mem_every=2, top_k=9, min_working_frames=2, max_working_frames=3, prototypes=5, max_long_term=12)
FRAMES = 11


def video() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (FRAMES, 48, 64, 3), np.uint8)


def masks() -> dict[int, np.ndarray]:
    """Two objects, and on frame 5 a third one, whose id comes before theirs."""
    first, late = np.zeros((2, 48, 64), np.uint8)
    first[4:20, 4:24], first[24:44, 30:60], late[6:22, 34:56] = 2, 3, 1
    return {0: first, 5: late}


def begun(model, with_key_frame: bool = False) -> Propagator:
    engine = Propagator(model, CONFIG, size=40)
    if with_key_frame:
        engine.remember(video()[8], masks()[0])
    return engine


@pytest.fixture(scope="module")
def expected(tiny_model):
    engine, given = begun(tiny_model), masks()
    return [engine.step(frame, given.get(t)).clone() for t, frame in enumerate(video())]


@pytest.mark.parametrize("pause", range(FRAMES - 1))
def test_resumed_from_a_file_probabilities_are_the_same_to_the_bit(tiny_model, expected, tmp_path, pause):
    """With consolidations, long-term memory at its limit, an object that arrives late, before or after the pause."""
    engine, given = begun(tiny_model), masks()
    for t, frame in enumerate(video()[: pause + 1]):
        engine.step(frame, given.get(t))
    engine.state({"why": "a test"}).write(tmp_path / "state.safetensors")
    read = EngineState.read(tmp_path / "state.safetensors")
    resumed = Propagator.resume(tiny_model, read)
    assert read.notes == {"why": "a test"} and resumed.objects == engine.objects
    assert resumed.memory_use() == engine.memory_use() and resumed.frame_index == pause
    for t in range(pause + 1, FRAMES):
        assert torch.equal(resumed.step(video()[t], given.get(t)), expected[t])


def test_permanent_memory_is_part_of_the_state(tiny_model, tmp_path):
    engine, given = begun(tiny_model, with_key_frame=True), masks()
    engine.state().write(tmp_path / "state.safetensors")
    resumed = Propagator.resume(tiny_model, EngineState.read(tmp_path / "state.safetensors"))
    for t, frame in enumerate(video()):
        assert torch.equal(resumed.step(frame, given.get(t)), engine.step(frame, given.get(t)))


def test_a_bfloat16_run_is_resumed_with_its_own_types(tmp_path):
    torch.manual_seed(0)
    model = XMem(lite_sizes()).eval().requires_grad_(False).to(torch.bfloat16)
    engine, given = begun(model), masks()
    for t, frame in enumerate(video()[:6]):
        engine.step(frame, given.get(t))
    engine.state().write(tmp_path / "state.safetensors")
    resumed = Propagator.resume(model, EngineState.read(tmp_path / "state.safetensors"))
    for frame in video()[6:]:
        assert torch.equal(resumed.step(frame), engine.step(frame))


def test_its_size_is_bounded_by_the_memories(tiny_model, tmp_path):
    sizes, engine, given = [], begun(tiny_model), masks()
    for turn in range(3):
        for t, frame in enumerate(video()):
            engine.step(frame, given.get(t) if turn == 0 else None)
        engine.state().write(tmp_path / "state.safetensors")
        sizes.append((tmp_path / "state.safetensors").stat().st_size)
    assert sizes[1] <= 1.1 * sizes[0] and sizes[2] <= 1.1 * sizes[0]


def test_another_network_is_refused_in_a_sentence(tiny_model, tmp_path):
    engine = begun(tiny_model)
    engine.step(video()[0], masks()[0])
    torch.manual_seed(1)
    other = XMem(lite_sizes()).eval().requires_grad_(False)
    assert fingerprint(other) != fingerprint(tiny_model)
    with pytest.raises(InputError, match="another network or in another precision"):
        Propagator.resume(other, engine.state())


def _about(path):
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["xmem"])


def _cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def _without_metadata(path):
    save_file(load_file(path), path)


def _with_layout_beyond_the_numbers(path):
    about = _about(path)
    about["layouts"]["sensory"] = [10**6] * 5
    save_file(load_file(path), path, metadata={"xmem": json.dumps(about)})


def _without_a_tensor(path):
    about, tensors = _about(path), load_file(path)
    del tensors["values0"]
    save_file(tensors, path, metadata={"xmem": json.dumps(about)})


def _with_counts_that_do_not_fit(path):
    about = _about(path)
    about["values"]["state"]["memory"]["store"]["capacities"] = {}
    save_file(load_file(path), path, metadata={"xmem": json.dumps(about)})


@pytest.mark.parametrize(
    "harm", [_cut, _without_metadata, _with_layout_beyond_the_numbers, _without_a_tensor, _with_counts_that_do_not_fit]
)
def test_a_damaged_file_is_refused_in_a_sentence(tiny_model, tmp_path, harm):
    engine, path = begun(tiny_model), tmp_path / "state.safetensors"
    engine.step(video()[0], masks()[0])
    engine.state().write(path)
    harm(path)
    with pytest.raises(InputError, match="start the run anew"):
        Propagator.resume(tiny_model, EngineState.read(path))
