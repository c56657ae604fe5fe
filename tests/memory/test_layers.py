"""AOT's memory of layers, held against plain lists of frames."""

import pytest
import torch

from xmem.memory.layers import LayeredMemory

LAYERS, POSITIONS, CHANNELS = 2, 6, 4


def frame() -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [tuple(torch.randn(2, POSITIONS, CHANNELS)) for _ in range(LAYERS)]


@pytest.mark.parametrize("delay", [1, 2, 3])
@pytest.mark.parametrize("given", [{0}, {0, 1, 5}, {0, 6, 7}])
def test_the_short_term_memory_is_an_earlier_frame_but_none_before_a_given_mask(delay, given):
    memory, frames = LayeredMemory(delay), []
    for t in range(12):
        frames.append(frame())
        is_long = t in given or t % 3 == 0
        if is_long:
            memory.reserve(frames[t])
        memory.append(frames[t], t in given, is_long)
        read = memory.read()
        latest = max(i for i in given if i <= t)
        short = frames[max(t + 1 - delay, latest)]
        kept = [i for i in range(t + 1) if i in given or i % 3 == 0]
        assert len(memory) == len(kept) * POSITIONS
        for i, layer in enumerate(read):
            assert torch.equal(layer.short_key, short[i][0]) and torch.equal(layer.short_value, short[i][1])
            assert torch.equal(layer.long_key, torch.cat([frames[k][i][0] for k in kept]))
            assert torch.equal(layer.long_value, torch.cat([frames[k][i][1] for k in kept]))


def test_beyond_the_limit_the_first_those_given_and_the_latest_frames_stay():
    memory, frames = LayeredMemory(max_frames=4), []
    for t in range(10):
        frames.append(frame())
        memory.reserve(frames[t])
        memory.append(frames[t], t in (0, 3), True)
    for i, layer in enumerate(memory.read()):
        assert torch.equal(layer.long_key, torch.cat([frames[k][i][0] for k in (0, 3, 8, 9)]))
        assert torch.equal(layer.long_value, torch.cat([frames[k][i][1] for k in (0, 3, 8, 9)]))


def test_bytes_are_those_of_both_memories():
    memory = LayeredMemory(delay=2)
    for t in range(3):
        layers = frame()
        memory.reserve(layers)
        memory.append(layers, t == 0, long_term=t != 1)
    rows = (2 + 2) * POSITIONS  # two frames each
    assert memory.bytes == rows * CHANNELS * 2 * LAYERS * 4


def test_permanent_frames_count_in_no_limit_and_a_saved_memory_goes_on_as_it_would_have():
    memory, frames = LayeredMemory(delay=2, max_frames=2), []

    def come(memory: LayeredMemory, t: int) -> None:
        memory.reserve(frames[t])
        memory.append(frames[t], t < 3, True, permanent=t < 2)

    for t in range(9):
        frames.append(frame())
        come(memory, t)
        if t == 5:
            other = LayeredMemory(delay=2, max_frames=2)
            other.load(*memory.save())
        elif t > 5:
            come(other, t)
    assert (memory.permanent_size, len(memory), memory.short_term_size) == (2 * POSITIONS, 4 * POSITIONS, 2 * POSITIONS)
    for held in (memory, other):
        for i, layer in enumerate(held.read()):
            assert torch.equal(layer.long_value, torch.cat([frames[k][i][1] for k in (0, 1, 2, 8)]))
            assert torch.equal(layer.short_key, frames[7][i][0])
