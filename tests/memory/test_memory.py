"""Reading, consolidating and forgetting, held against a plain element-by-element form of the specification."""

import pytest
import torch
from plain_memory import PlainMemory

from xmem.config import MemoryConfig
from xmem.memory import Memory
from xmem.memory.attention import prepare_memory, prepare_query, query_chunks, similarity, top_k_softmax

C_K, C_V, H, W = 6, 4, 2, 3


def run_both(config: MemoryConfig, arrivals: dict[int, int], frames: int, seed: int = 0) -> tuple[Memory, float]:
    """Drive both memories with random tensors; arrivals: frame -> objects known from then on."""
    torch.manual_seed(seed)
    memory, plain, worst, objects = Memory(config), PlainMemory(config), 0.0, 0
    for t in range(frames):
        key, selection = torch.randn(1, C_K, H, W), torch.rand(1, C_K, H, W)
        if t:
            expected = plain.read(key[0].flatten(1), selection[0].flatten(1))
            got = memory.read(key, selection)[0].flatten(2)
            worst = max(worst, float((got - expected).abs().max()))
        objects = arrivals.get(t, objects)
        shrinkage, values = 1 + torch.rand(1, 1, H, W), torch.randn(1, objects, C_V, H, W)
        memory.append(key, shrinkage, selection, values)
        plain.append(key[0].flatten(1), shrinkage[0].flatten(1), selection[0].flatten(1), values[0].flatten(2))
        assert memory.working_size == len(plain.frames) * H * W
        assert memory.long_term_size == len(plain.long_term)
    return memory, worst


LONG = MemoryConfig(top_k=7, min_working_frames=2, max_working_frames=4, prototypes=5, max_long_term=12)


@pytest.mark.parametrize("arrivals", [{0: 2}, {0: 1, 1: 2}, {0: 2, 3: 3}, {0: 1, 3: 2, 8: 4}, {0: 1, 2: 2, 4: 3, 5: 5}])
def test_long_term_overflow_with_objects_that_arrived_at_different_times(arrivals):
    """The released implementation stops there, or reads a late value with another frame's key."""
    memory, worst = run_both(LONG, arrivals, frames=22)
    assert memory.long_term_size == 12
    assert worst < 1e-5


def test_nothing_to_remove_at_the_limit_of_long_term_memory():
    """The released implementation fails where long-term memory is exactly at LT_max - P before a consolidation."""
    config = MemoryConfig(top_k=7, min_working_frames=2, max_working_frames=4, prototypes=5, max_long_term=15)
    memory, worst = run_both(config, {0: 1}, frames=24)
    assert memory.long_term_size == 15
    assert worst < 1e-5


def test_fewer_candidates_than_prototypes_and_a_single_kept_frame():
    config = MemoryConfig(top_k=3, min_working_frames=1, max_working_frames=2, prototypes=50, max_long_term=60)
    memory, worst = run_both(config, {0: 1, 5: 2}, frames=16)
    assert worst < 1e-5 and memory.long_term_size <= 60


def test_without_long_term_memory_working_memory_keeps_every_frame():
    memory, worst = run_both(MemoryConfig(top_k=5, long_term=False), {0: 1, 4: 2}, frames=20)
    assert (memory.working_size, memory.long_term_size) == (20 * H * W, 0)
    assert worst < 1e-5


def test_reading_in_chunks_of_queries_changes_nothing(monkeypatch):
    whole = run_both(LONG, {0: 1, 3: 2}, frames=9)[1]
    monkeypatch.setattr("xmem.memory.attention.CHUNK_ELEMENTS", 40)
    assert len(query_chunks(H * W, 30)) == H * W
    assert whole < 1e-5 and run_both(LONG, {0: 1, 3: 2}, frames=9)[1] < 1e-5


def test_keys_far_from_every_query_do_not_underflow():
    """exp of every similarity is zero here; without the maximum subtracted the weights were 0/0."""
    memory = prepare_memory(torch.full((40, 8), 30.0) + torch.arange(40.0)[:, None], torch.ones(40, 1))
    query = prepare_query(torch.full((3, 8), -30.0), torch.ones(3, 8))
    weights, index = top_k_softmax(similarity(query, memory), 30)
    assert torch.isfinite(weights).all() and torch.allclose(weights.sum(1), torch.ones(3))
    assert (index == 0).any(1).all(), "the nearest element is read"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keys_do_not_overflow(dtype):
    """Squares of 300 pass float16's 65,504; the similarity is float32 whatever the network's precision."""
    key = torch.full((5, 8), 300.0, dtype=dtype)
    scores = similarity(prepare_query(-key, torch.ones_like(key)), prepare_memory(key, torch.ones(5, 1, dtype=dtype)))
    assert scores.dtype == torch.float32 and torch.isfinite(scores).all()
