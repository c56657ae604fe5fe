"""Memory with keys of each object: held against a list of frames that is written out."""

import math

import pytest
import torch

from xmem.memory import keyed
from xmem.memory.keyed import KeyedMemory
from xmem.pieces import Pieces

OBJECTS, C_K, C_V, H, W = 2, 6, 4, 2, 3


def frame():
    return torch.randn(1, OBJECTS, C_K, H, W), torch.randn(1, OBJECTS, C_V, H, W)


def read(frames, query):
    keys = torch.cat([keys[0].flatten(2) for keys, _ in frames], 2)  # [O, C_k, N]
    values = torch.cat([values[0].flatten(2) for _, values in frames], 2)
    weights = (keys.transpose(1, 2) @ query[0].flatten(1) / math.sqrt(C_K)).softmax(1)
    return values @ weights


@pytest.mark.parametrize("chunk", [None, 7])
def test_every_object_reads_all_elements_by_its_own_keys(chunk):
    """With a temporary latest frame, whatever the number of similarities that are held at once."""
    torch.manual_seed(0)
    memory, frames, temporary = KeyedMemory(), [], False
    for t in range(9):
        new, is_temporary = frame(), t % 3 > 0
        memory.append(*new, temporary=is_temporary)
        frames, temporary = [*(frames[:-1] if temporary else frames), new], is_temporary
        query = torch.randn(1, C_K, H, W)
        assert torch.allclose(memory.read(query, Pieces(distances=chunk))[0].flatten(2), read(frames, query), atol=1e-5)
        assert memory.use().working == len(memory) == len(frames) * H * W
    assert memory.use().bytes == 4 * len(frames) * H * W * OBJECTS * (C_K + C_V)


def test_beyond_the_limit_the_middle_goes_and_permanent_frames_stay():
    torch.manual_seed(1)
    memory, frames = KeyedMemory(max_frames=3), []
    for t in range(9):
        new = frame()
        memory.append(*new, permanent=t < 2, given=t in (2, 4))
        frames.append((t, new))
        kept = [at for at, _ in frames if at >= 2]
        if len(kept) > 3:
            dropped = next(at for at in kept[1:] if at != 4)
            frames = [(at, f) for at, f in frames if at != dropped]
        query = torch.randn(1, C_K, H, W)
        assert torch.allclose(memory.read(query)[0].flatten(2), read([f for _, f in frames], query), atol=1e-5)
    assert [at for at, _ in frames] == [0, 1, 2, 4, 8]
    assert (memory.use().permanent, memory.use().working) == (2 * H * W, 3 * H * W)


def test_chunks_halve_down_to_the_smallest(monkeypatch):
    monkeypatch.setattr(keyed, "SMALLEST_CHUNK_ELEMENTS", 8)
    memory = KeyedMemory()
    memory.append(*frame())
    sizes = [None]
    while (half := memory.halved(sizes[-1], torch.device("cpu"))) is not None:
        sizes.append(half)
    assert sizes == [None, 18, 9, 4]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_finite_where_similarities_are_large(dtype):
    memory = KeyedMemory()
    memory.append(*(200 * x.to(dtype) for x in frame()))
    readout = memory.read(200 * torch.randn(1, C_K, H, W).to(dtype))
    assert readout.dtype == dtype and torch.isfinite(readout).all()
