"""Reading, consolidating and forgetting, held against a plain element-by-element form of the specification."""

import subprocess
import sys

import pytest
import torch
from plain_memory import PlainMemory

from xmem.config import MemoryConfig
from xmem.memory import Memory
from xmem.memory import memory as memory_module
from xmem.memory.attention import (
    TOP_K_BLOCKS,
    chunk_elements,
    distance,
    prepare_memory,
    prepare_query,
    query_chunks,
    row_type,
    top_k_softmax,
)

C_K, C_V, H, W = 6, 4, 2, 3


def run_both(
    config: MemoryConfig, arrivals: dict[int, int], frames: int, seed: int = 0, key_frames: int = 0
) -> tuple[Memory, float]:
    """Drive both memories with random tensors; arrivals: frame -> objects known from then on, the first `key_frames`
    frames being kept in permanent memory."""
    torch.manual_seed(seed)
    memory, plain, worst, objects = Memory(config), PlainMemory(config), 0.0, 0
    for t in range(frames):
        key, selection = torch.randn(1, C_K, H, W), torch.rand(1, C_K, H, W)
        if t:
            expected = plain.read(key[0].flatten(1), selection[0].flatten(1))
            readout, use = memory.read(key, selection)
            memory.count(use)
            got = readout[0].flatten(2)
            worst = max(worst, float((got - expected).abs().max()))
        objects = arrivals.get(t, objects)
        shrinkage, values = 1 + torch.rand(1, 1, H, W), torch.randn(1, objects, C_V, H, W)
        flat = (key[0].flatten(1), shrinkage[0].flatten(1), selection[0].flatten(1), values[0].flatten(2))
        memory.append(key, shrinkage, selection, values, permanent=t < key_frames)
        memory.consolidate()
        plain.append(*flat, permanent=t < key_frames)
        assert memory.permanent_size == min(t + 1, key_frames) * H * W
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


@pytest.mark.parametrize(
    "arrivals", [{0: 2}, {0: 1, 1: 2}, {0: 1, 2: 3}, {0: 1, 1: 2, 5: 3, 9: 4}, {0: 1, 3: 2}], ids=str
)
def test_permanent_elements_outlive_every_consolidation_and_stay_readable(arrivals):
    """Key frames count in no limit, are no candidates, and leave other elements' usage and values in place, also with
    objects that joined on a later key frame or after them."""
    memory, worst = run_both(LONG, arrivals, frames=22, key_frames=3)
    assert memory.permanent_size == 3 * H * W
    assert memory.long_term_size == 12, "long-term memory overflowed on the way"
    assert worst < 1e-5


def test_permanent_memory_beside_working_memory_without_limit():
    memory, worst = run_both(MemoryConfig(top_k=5, long_term=False), {0: 1, 1: 2, 4: 3}, frames=12, key_frames=2)
    assert (memory.permanent_size, memory.working_size, memory.long_term_size) == (2 * H * W, 10 * H * W, 0)
    assert worst < 1e-5


def test_permanent_rows_keep_their_bytes():
    """Not only what is read from them: keys, shrinkage and values are the rows that were given."""
    torch.manual_seed(0)
    memory = Memory(LONG)
    shape = {"key": (1, C_K, H, W), "shrinkage": (1, 1, H, W), "selection": (1, C_K, H, W), "values": (1, 2, C_V, H, W)}
    given = {name: torch.rand(size) for name, size in shape.items()}
    memory.append(**given, permanent=True)
    for _ in range(20):
        memory.append(**{name: torch.rand(size) for name, size in shape.items()})
        memory.consolidate()
        memory.count(memory.read(torch.rand(shape["key"]), torch.rand(shape["selection"]))[1])
    store = memory._store
    assert torch.equal(store.column("key")[: H * W], given["key"][0].flatten(1).T)
    assert torch.equal(store.column("shrinkage")[: H * W], given["shrinkage"][0].flatten(1).T)
    assert torch.equal(store.groups[0].values.rows[: H * W], given["values"][0].flatten(0, 1).flatten(1).T)


@pytest.mark.parametrize("key_frames", [0, 2])
def test_elements_without_a_value_are_never_read_and_others_keep_their_row(key_frames):
    """Value rows are told from element indices, also where a group has gaps in every memory."""
    memory, _ = run_both(LONG, {0: 1, 1: 2, 6: 3}, frames=12, key_frames=key_frames)
    store, distances = memory._store, torch.zeros(1, len(memory._store))
    counts = []
    for group in store.groups:
        store.exclude(group, distances)
        index = torch.isfinite(distances[0]).nonzero()[:, 0]
        assert torch.equal(store.value_rows(group, index), torch.arange(len(group.values)))
        assert store.value_rows(group, torch.arange(len(store))).max() < len(group.values)
        counts.append(len(index))
    assert counts[0] == len(store) > counts[1] > counts[2]


def test_use_counts_elements_and_bytes():
    """Bytes follow the elements: float32 key, prepared key (2 C_k + 1), shrinkage, usage (2), selection and values."""
    empty = Memory(LONG).use()
    assert (empty.permanent, empty.working, empty.long_term, empty.bytes) == (0, 0, 0, 0)
    memory, _ = run_both(LONG, {0: 2}, frames=12, key_frames=2)
    memory.sensory = torch.zeros(1, 2, 5, H, W)
    use = memory.use()
    assert (use.permanent, use.working, use.long_term) == (12, memory.working_size, memory.long_term_size)
    elements = use.permanent + use.working + use.long_term
    assert use.bytes == 4 * (elements * (4 * C_K + 4 + 2 * C_V) + 2 * 5 * H * W)


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
    monkeypatch.setattr("xmem.memory.attention.CPU_CHUNK_ELEMENTS", 40)
    assert len(query_chunks(H * W, 30, chunk_elements(torch.device("cpu")))) == H * W
    assert whole < 1e-5 and run_both(LONG, {0: 1, 3: 2}, frames=9)[1] < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("elements", [481, 2049, 2063, 2064, 5000, 9000])
def test_top_k_by_blocks_is_top_k(elements, dtype):
    """Also where the last elements fill no block, where the nearest stand in one block or in that rest, where others
    are excluded, and where rounding made the nearest negative; blocks of blocks with 9,000 elements."""
    torch.manual_seed(elements)
    distances = (10 + torch.randn(50, elements)).to(dtype)
    blocks = elements // TOP_K_BLOCKS
    distances[0, torch.arange(TOP_K_BLOCKS) * blocks + 7] -= 6  # a whole block
    distances[1, -(elements % TOP_K_BLOCKS) - 3 :] -= 6
    distances[2] = 0.0  # all equal
    distances[3, : elements - 40] = float("inf")
    distances[4, [5, 300]] = torch.tensor([-0.01, -0.02], dtype=dtype)
    weights, index = top_k_softmax(distances, 30)
    nearest = distances.float().topk(30, 1, largest=False).values
    expected = torch.softmax(-nearest, 1)
    assert torch.allclose(weights.sort(1, descending=True).values, expected, atol=1e-6)
    assert torch.equal(distances.gather(1, index).float().sort(1).values, nearest), "indices name what weights are of"
    assert all(len(set(row.tolist())) == 30 for row in index), "no element is read twice"


def test_keys_far_from_every_query_do_not_underflow():
    """exp of every similarity is zero here; without the maximum subtracted the weights were 0/0."""
    memory = prepare_memory(torch.full((40, 8), 30.0) + torch.arange(40.0)[:, None], torch.ones(40, 1))
    query = prepare_query(torch.full((3, 8), -30.0), torch.ones(3, 8))
    weights, index = top_k_softmax(distance(query, memory), 30)
    assert torch.isfinite(weights).all() and torch.allclose(weights.sum(1), torch.ones(3))
    assert (index == 0).any(1).all(), "the nearest element is read"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keys_do_not_overflow(dtype):
    """Squares of 300 pass float16's 65,504; distances are float32, or of bfloat16's range, for any network."""
    key = torch.full((5, 8), 300.0, dtype=dtype)
    kind = row_type(key)
    query, memory = prepare_query(-key, torch.ones_like(key), kind), prepare_memory(key, torch.ones(5, 1), kind)
    found = distance(query, memory)
    assert found.dtype == kind != torch.float16 and torch.isfinite(found).all()


@pytest.mark.parametrize("native", [True, False])
def test_rows_are_bfloat16_only_beside_a_bfloat16_network_on_a_cpu_that_multiplies_it(native, monkeypatch):
    monkeypatch.setattr("xmem.memory.attention.multiplies_bfloat16", lambda: native)
    assert row_type(torch.zeros(1, dtype=torch.bfloat16)) == (torch.bfloat16 if native else torch.float32)
    assert row_type(torch.zeros(1)) == row_type(torch.zeros(1, dtype=torch.float16)) == torch.float32


def test_rows_in_bfloat16_read_nearly_the_same(monkeypatch):
    """Objects that arrive late and consolidations on the way: values are read within 0.03 of 1 on average."""
    read = []
    for native in (True, False):
        monkeypatch.setattr("xmem.memory.attention.multiplies_bfloat16", lambda native=native: native)
        torch.manual_seed(0)
        memory, found = Memory(LONG), []
        for t in range(20):
            key, selection = torch.randn(1, C_K, H, W).bfloat16(), torch.rand(1, C_K, H, W).bfloat16()
            if t:
                out, use = memory.read(key, selection)
                found.append(out[:, :1].float())
                memory.count(use)
            memory.append(key, 1 + torch.rand(1, 1, H, W), selection, torch.randn(1, 1 + (t > 2), C_V, H, W).bfloat16())
            memory.consolidate()
        assert memory._store.column("prepared").dtype == (torch.bfloat16 if native else torch.float32)
        read.append(torch.cat(found))
    assert 0 < (read[0] - read[1]).abs().mean() < 0.03


def test_a_memory_that_grows_multiplies_few_shapes_in_bfloat16(monkeypatch):
    """oneDNN keeps a program for each: without a limit, 2,000 frames at 120 pixels left 300 MB behind."""
    monkeypatch.setattr("xmem.memory.attention.multiplies_bfloat16", lambda: True)
    shapes, original = set(), memory_module.distance

    def recorded(query, rows, out=None):
        shapes.add((tuple(query.shape), tuple(rows.shape)))
        return original(query, rows, out)

    monkeypatch.setattr(memory_module, "distance", recorded)
    memory = Memory(MemoryConfig(top_k=5, long_term=False))
    for t in range(60):
        key, selection = torch.randn(1, C_K, 6, 10).bfloat16(), torch.rand(1, C_K, 6, 10).bfloat16()
        if t:
            assert torch.isfinite(memory.read(key, selection)[0]).all()
        memory.append(key, torch.ones(1, 1, 6, 10), selection, torch.randn(1, 1, C_V, 6, 10).bfloat16())
    assert len(shapes) <= 6 and max(rows[0] for _, rows in shapes) >= 59 * 60


LARGE_READ = """
import resource, torch
from xmem.config import MemoryConfig
from xmem.memory import Memory

h, w, c_k, c_v, elements = 68, 120, 4, 8, 30_000  # 1080p at stride 16
memory = Memory(MemoryConfig(max_working_frames=100))
key, shrinkage = torch.randn(1, c_k, 1, elements), torch.ones(1, 1, 1, elements)
memory.append(key, shrinkage, torch.rand_like(key), torch.randn(1, 1, c_v, 1, elements))
query = torch.randn(1, c_k, h, w)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with torch.inference_mode():
    memory.read(query, torch.rand_like(query))
    once = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory.read(query, torch.rand_like(query))
print(once - before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - once)  # KiB
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is told in other units elsewhere")
def test_a_large_read_never_holds_all_distances():
    """1080p with 30,000 elements: 1 GB of distances, of which 64 MiB are held at a time; the next read takes no
    more. In a process of its own, whose peak nothing else has raised."""
    done = subprocess.run([sys.executable, "-c", LARGE_READ], capture_output=True, text=True, check=True)
    first, second = map(int, done.stdout.split())
    assert first < 200 * 1024 and second < 40 * 1024


def test_every_chunk_of_a_large_read_fits():
    """Whatever the size, and also after halving; a single query is the least."""
    for queries, elements, at_once in [(8160, 90_000, 2**25), (8160, 90_000, 2**24), (1620, 26_200, 2**18), (7, 50, 9)]:
        chunks = query_chunks(queries, elements, at_once)
        assert [i for chunk in chunks for i in range(chunk.start, chunk.stop)] == list(range(queries))
        assert all((chunk.stop - chunk.start) * elements <= max(at_once, elements) for chunk in chunks)


def test_a_long_video_never_makes_a_table_anew():
    """Room for all that the limits allow is made on the first frame; consolidations re-arrange it in place."""
    memory, places = Memory(LONG), set()
    torch.manual_seed(0)
    for t in range(30):
        key, values = torch.randn(1, C_K, H, W), torch.randn(1, 2, C_V, H, W)
        if t:
            memory.count(memory.read(key, torch.rand_like(key))[1])
        memory.append(key, torch.ones(1, 1, H, W), torch.rand_like(key), values)
        memory.consolidate()
        store = memory._store
        places.add(tuple(store.column(name).data_ptr() for name in ("key", "prepared", "usage", "selection")))
        places.add((store.groups[0].values.rows.data_ptr(), memory._distances[0].data_ptr() if t else 0))
    assert memory.long_term_size == 12 and len(places) <= 3, "the tables, the values, and the latter with a first read"
