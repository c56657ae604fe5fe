"""The variants give the numbers of the plain way, as far as a CPU can tell; their speed is what a GPU has to show."""

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_flatten

from tests.tiny_model import tiny_state
from tests.video.clips import write_clip
from xmem import InputError, MemoryConfig, Propagator
from xmem.benchmark.variants import ahead, compiled, fused, graphs, nvdec, reading
from xmem.networks.cpu import fold_batch_norm
from xmem.networks.xmem import XMem, load_state, xmem_sizes

SHORT = MemoryConfig(mem_every=2, top_k=9, min_working_frames=2, max_working_frames=3, prototypes=5, max_long_term=12)


def network() -> XMem:
    return load_state(tiny_state()).eval().requires_grad_(False)


def images(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(count)]


def mask() -> np.ndarray:
    found = np.zeros((48, 64), np.uint8)
    found[8:24, 8:24], found[24:40, 30:50] = 1, 2
    return found


def probabilities(model: XMem, count: int = 8) -> list[np.ndarray]:
    engine = Propagator(model, SHORT)
    return [engine.step(image, mask() if i == 0 else None).numpy() for i, image in enumerate(images(count))]


def replayed(function):
    """A capture as on CUDA: what is read and written stays, and is computed anew in place."""
    results = function()

    def replay() -> None:
        for target, source in zip(tree_flatten(results)[0], tree_flatten(function())[0], strict=True):
            target.copy_(source)

    return results, replay


def test_graphs_replay_what_the_networks_compute():
    """For plain frames, memory frames and those with a deep update, whose results stay when the graph is used again."""
    model = network()
    found = graphs.graphed(model, capture=replayed)
    for one, other in zip(probabilities(model), probabilities(found), strict=True):
        assert np.array_equal(one, other)
    assert len(found.decode._kept) >= 2, "a kind for each way that the sensory memory is treated"


def test_a_graph_is_kept_for_each_number_of_objects():
    calls = []
    double = graphs.Graphed(lambda x: calls.append(1) or 2 * x, lambda function: (function(), lambda: None))
    for count in (1, 2, 1, 2):
        double(torch.ones(1, count))
    assert len(calls) == 2


@pytest.fixture(scope="module")
def whole() -> XMem:
    """The released sizes, batch norms folded."""
    torch.manual_seed(0)
    return fold_batch_norm(XMem(xmem_sizes()).eval().requires_grad_(False))


@torch.inference_mode()
def test_fused_convolutions_compute_the_same_where_they_are_plain(whole):
    model = fused.fused(whole)
    image, readout = torch.rand(1, 3, 32, 48), torch.rand(1, 2, 512, 2, 3)
    sensory, masks = torch.rand(1, 2, 64, 2, 3), torch.rand(1, 2, 32, 48)
    for a, b in zip(tree_flatten(whole.encode_key(image))[0], tree_flatten(model.encode_key(image))[0], strict=True):
        assert torch.allclose(a, b, atol=1e-5, rtol=1e-4)
    features = whole.encode_key(image)[3]
    for one, other in (
        (whole.decode(features, readout, sensory, True), model.decode(features, readout, sensory, True)),
        (whole.encode_value(image, features[0], masks, sensory, True),
         model.encode_value(image, features[0], masks, sensory, True)),
    ):  # fmt: skip
        assert all(torch.allclose(a, b, atol=1e-5, rtol=1e-4) for a, b in zip(one, other, strict=True))


def test_fused_convolutions_take_the_place_of_relus_and_sums(whole, monkeypatch):
    """In the key encoder: a stem and 13 blocks of three convolutions, 27 + 2 x 13 launches fewer."""
    ran: list[str] = []
    for name in ("conv_relu", "conv_add_relu"):
        plain = getattr(fused, name)
        monkeypatch.setattr(fused, name, lambda *args, name=name, plain=plain: ran.append(name) or plain(*args))
    with torch.inference_mode():
        fused.fused(whole).key_encoder(torch.rand(1, 3, 32, 32))
    assert (ran.count("conv_relu"), ran.count("conv_add_relu")) == (27, 13)


def test_batch_norms_have_to_be_folded_before_fusing():
    with pytest.raises(ValueError, match="folded first"):
        fused.fused(network())


def test_all_networks_are_compiled_and_compute_the_same(monkeypatch):
    """What torch.compile makes of them is torch's; tracing them takes longer than all other tests here."""
    made, called = [], []

    def compile_(function, **options):
        made.append((function.__name__, options["dynamic"]))
        return lambda *args: called.append(function.__name__) or function(*args)

    monkeypatch.setattr(torch, "compile", compile_)
    model = network()
    for one, other in zip(probabilities(model, 3), probabilities(compiled.compiled(model), 3), strict=True):
        assert np.array_equal(one, other)
    assert made == [(name, False) for name in graphs.METHODS] and set(called) == set(graphs.METHODS)


class TestReading:
    queries, memory = (torch.randn(n, 129, generator=torch.Generator().manual_seed(n)) for n in (40, 900))

    def test_padding_changes_no_distance(self):
        wide = reading.padded(self.queries), reading.padded(self.memory)
        assert wide[0].shape[1] == 136
        assert torch.allclose(reading.product(*wide), reading.product(self.queries, self.memory), atol=1e-4)

    def test_split_products_are_near_those_of_float32(self):
        parts = reading.split(self.queries, True), reading.split(self.memory, False)
        exact = self.queries.double() @ self.memory.double().T
        error = (reading.product(*parts).double() - exact).abs().max()
        plain = (self.queries.bfloat16().double() @ self.memory.bfloat16().double().T - exact).abs().max()
        assert error < plain / 50

    @pytest.mark.parametrize("elements", [20, 900, 1000, 5000])
    @pytest.mark.parametrize("k", [1, 30])
    def test_the_nearest_by_blocks_are_the_nearest(self, elements, k):
        k = min(k, elements)
        distances = torch.rand(7, elements, generator=torch.Generator().manual_seed(elements))
        values, index = reading.nearest_by_blocks(distances, k)
        expected = distances.topk(k, 1, largest=False).values
        assert torch.equal(values.sort(1).values, expected) and torch.equal(distances.gather(1, index), values)


@pytest.mark.parametrize("batch", [2, 3, 4])
def test_keys_in_batches_ahead_give_the_same_probabilities(batch):
    model = network()
    engine = Propagator(model, SHORT)
    found = list(ahead.run_in_batches(engine, images(7), {0: mask()}, batch))
    for one, other in zip(probabilities(model, 7), found, strict=True):
        assert np.allclose(one, other.numpy(), atol=1e-5)


def test_decoding_on_a_gpu_says_where_it_cannot_be(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", images(3))
    if nvdec.decoder_of("h264") is None:
        with pytest.raises(InputError, match="does not decode h264 on a GPU"):
            next(nvdec.frames(clip))
    assert nvdec.decoder_of("gif") is None
