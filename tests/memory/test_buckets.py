"""Cutie's buckets, held against a plain form of the specification."""

import pytest
import torch
from plain_cutie import PlainBucket, PlainFrame

from xmem.memory.buckets import BucketConfig, BucketMemory

C_K, C_V, H, W = 6, 4, 2, 3


def configs(long_term: bool, most: int, least: int = 2, tokens: int = 14, buffer: int = 3) -> tuple[BucketConfig, dict]:
    """The same settings for both; most, least: frames as Cutie counts them, with the permanent one."""
    ours = BucketConfig(5, most - 1, least - 1, long_term, 5, tokens, buffer)
    limits = {"min_mem_frames": least, "max_mem_frames": most, "num_prototypes": 5, "max_num_tokens": tokens}
    limits["buffer_tokens"] = buffer
    return ours, {"top_k": 5, "use_long_term": long_term, "max_mem_frames": most, "long_term": limits}


def frame(objects: int) -> tuple[torch.Tensor, ...]:
    key, shrinkage = torch.randn(1, C_K, H, W), 1 + torch.rand(1, 1, H, W)
    return key, shrinkage, torch.rand(1, C_K, H, W), torch.randn(1, objects, C_V, H, W)


CASES = [
    configs(False, 1),
    configs(False, 2),
    configs(False, 4),
    configs(True, 4),
    configs(True, 4, buffer=0),
    configs(True, 5, least=4),
    configs(True, 3, least=1, tokens=10, buffer=5),
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("arrivals", [{0: 1}, {0: 2, 1: 3, 7: 5}])
def test_every_read_and_size_is_that_of_the_plain_form(case, arrivals):
    torch.manual_seed(0)
    memory, plain, objects = BucketMemory(case[0]), [], 0
    for t in range(22):
        known, objects = objects, arrivals.get(t, objects)
        key, shrinkage, selection, values = frame(objects)
        if t:
            readouts, uses = memory.read(key, selection)
            memory.count(uses)
            for got, bucket in zip(readouts, plain, strict=True):
                expected = bucket.read(key[0].flatten(1), selection[0].flatten(1))
                assert torch.allclose(got[0].flatten(2), expected, atol=1e-5)
        if objects > known:
            plain.append(PlainBucket(list(range(known, objects)), case[1]))
        memory.append(key, shrinkage, selection, values)
        memory.consolidate()
        for bucket, own in zip(memory.buckets, plain, strict=True):
            flat = [x[0].flatten(1) for x in (key, shrinkage, selection)]
            own.append(PlainFrame(*flat, values[0, own.objects].flatten(2)))
            assert bucket.permanent_size == H * W
            assert bucket.permanent_size + bucket.working_size == len(own.frames) * H * W
            assert bucket.long_term_size == (len(own.long_term.use) if own.long_term else 0)
    assert memory.use().permanent == H * W * len(plain)


def test_where_memory_is_full_no_bucket_has_changed(monkeypatch):
    torch.manual_seed(0)
    memory = BucketMemory(configs(False, 3)[0])
    memory.append(*frame(1))
    memory.append(*frame(2))
    before = memory.use()

    def fail(*_):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(memory.buckets[1], "prepare_append", fail)
    with pytest.raises(torch.OutOfMemoryError):
        memory.append(*frame(3))
    assert memory.use() == before and memory.objects == [1, 1]


def test_permanent_frames_are_beside_the_queue():
    torch.manual_seed(0)
    memory = BucketMemory(configs(False, 2)[0])
    for objects, permanent in ((1, True), (2, True), (2, False), (2, False), (2, False)):
        memory.append(*frame(objects), permanent=permanent)
        memory.consolidate()
    assert [bucket.permanent_size for bucket in memory.buckets] == [2 * H * W, H * W]
    assert [bucket.working_size for bucket in memory.buckets] == [H * W, H * W]
