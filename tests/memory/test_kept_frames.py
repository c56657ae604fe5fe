"""Memory without consolidation: the plain L2 distance, a temporary latest frame, and a limit of frames."""

import math

import pytest
import torch

from xmem.config import MemoryConfig
from xmem.memory import Memory
from xmem.memory.attention import distance, prepare_memory, prepare_query
from xmem.memory.frames import KeptFrames

C_K, C_V, H, W = 6, 4, 2, 3
PLAIN = MemoryConfig(top_k=5, long_term=False)


class Frame:
    """One memory frame of random numbers: every object known by then has values."""

    def __init__(self, objects):
        self.key, self.values = torch.randn(1, C_K, H, W), torch.randn(1, objects, C_V, H, W)


def read(frames, query, top_k):
    """The readout of each object, from the frames that have values of it: [O, C_V, HW]."""
    out = []
    for o in range(frames[-1].values.shape[1]):
        own = [frame for frame in frames if frame.values.shape[1] > o]
        keys = torch.cat([frame.key[0].flatten(1) for frame in own], 1)
        values = torch.cat([frame.values[0, o].flatten(1) for frame in own], 1)
        similarity = -(keys[:, :, None] - query[0].flatten(1)[:, None]).square().sum(0) / math.sqrt(C_K)
        best = similarity.topk(min(top_k, len(similarity)), 0)
        out.append(values @ torch.zeros_like(similarity).scatter_(0, best.indices, best.values.softmax(0)))
    return torch.stack(out)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 0.1)])
def test_the_plain_distance_is_that_of_the_keys_also_far_from_the_origin(dtype, tolerance):
    """Squared norms of 6,400 there would be rounded by up to 16 in bfloat16, and distances are about 10."""
    torch.manual_seed(0)
    keys, queries = ((20 + torch.randn(n, 16)).to(dtype).float() for n in (50, 7))
    rows, query = prepare_memory(keys, None, dtype), prepare_query(queries, None, dtype)
    assert rows.shape[1] == query.shape[1] == 16 + 4
    found = distance(query.float(), rows.float())  # as products of bfloat16 are summed
    expected = torch.cdist(queries.double(), keys.double()).square() / 4
    assert torch.allclose(found.double(), expected, atol=tolerance)


@pytest.mark.parametrize("arrivals", [{0: 2}, {0: 1, 3: 2}, {0: 1, 2: 3, 5: 4}])
@pytest.mark.parametrize("kept_every", [1, 3])
def test_a_temporary_frame_is_read_until_the_next_one_comes(arrivals, kept_every):
    """And with objects that join: elements and readouts are those of a list of frames that is written out."""
    torch.manual_seed(1)
    memory, frames, objects, temporary = Memory(PLAIN), [], 0, False
    for t in range(10):
        frame_given = t in arrivals
        objects = arrivals.get(t, objects)
        frame, is_temporary = Frame(objects), not frame_given and t % kept_every > 0
        memory.append(frame.key, None, None, frame.values, temporary=is_temporary)
        frames = [*(frames[:-1] if temporary else frames), frame]
        temporary = is_temporary
        query = torch.randn(1, C_K, H, W)
        readout, use = memory.read(query, None)
        assert use is None and memory.working_size == len(frames) * H * W
        assert torch.allclose(readout[0].flatten(2), read(frames, query, PLAIN.top_k), atol=1e-5)


@pytest.mark.parametrize("arrivals", [{0: 2}, {0: 1, 4: 2}, {0: 1, 1: 2, 2: 3, 3: 4}])
def test_beyond_the_limit_the_oldest_frame_without_a_given_mask_goes(arrivals):
    """The first, those with masks and the latest stay; where all are given, the oldest but the first goes. Whatever
    is held, every object is read from its own values."""
    torch.manual_seed(2)
    memory, frames, objects = Memory(PLAIN, max_frames=4), [], 0
    for t in range(12):
        objects = arrivals.get(t, objects)
        frame = Frame(objects)
        memory.append(frame.key, None, None, frame.values, given=t in arrivals)
        frames.append((t, frame))
        if len(frames) > 4:
            free = [i for i, (at, _) in enumerate(frames) if i and at not in arrivals]
            del frames[free[0] if free else 1]
        query = torch.randn(1, C_K, H, W)
        readout, _ = memory.read(query, None)
        assert memory.working_size == len(frames) * H * W
        assert torch.allclose(readout[0].flatten(2), read([f for _, f in frames], query, PLAIN.top_k), atol=1e-5)
    assert [at for at, _ in frames][:2] == ([0, 1] if 1 in arrivals else [0, 4] if 4 in arrivals else [0, 9])


def test_permanent_frames_count_in_no_limit():
    torch.manual_seed(3)
    memory = Memory(PLAIN, max_frames=2)
    for t in range(8):
        frame = Frame(1)
        memory.append(frame.key, None, None, frame.values, permanent=t < 3)
    assert (memory.permanent_size, memory.working_size) == (3 * H * W, 2 * H * W)


def test_frames_are_counted_only_where_there_is_a_limit():
    """A long video leaves nothing behind."""
    frames = KeptFrames()
    for _ in range(5):
        assert frames.add(False, False) is None
    assert frames._given == []


def test_no_more_than_a_plain_read_needs_is_kept():
    """Prepared keys (C_k + 4) and values: no usage, no keys by themselves."""
    memory, frame = Memory(PLAIN), Frame(2)
    memory.append(frame.key, None, None, frame.values)
    assert memory.use().bytes == 4 * H * W * (C_K + 4 + 2 * C_V)
