"""What makes the small network fast on a CPU changes none of its results."""

import copy

import pytest
import torch
from reference_weights import draw

from xmem.networks.cpu import fold_batch_norm, optimise_for_cpu
from xmem.networks.cpu import lite as module
from xmem.networks.cpu.packed import PackedConv2d
from xmem.networks.xmem import XMem, lite_sizes, load_state
from xmem.networks.xmem.blocks import fold_objects
from xmem.pieces import Pieces


@pytest.fixture(scope="module")
def model() -> XMem:
    return fold_batch_norm(load_state(lite_state()))


def lite_state() -> dict:
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in XMem(lite_sizes()).state_dict().items()}
    return {name: draw(name, shape, salt=1) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def optimised(model) -> XMem:
    return optimise_for_cpu(copy.deepcopy(model).to(memory_format=torch.channels_last), is_small=True)


@torch.inference_mode()
def test_an_optimised_network_has_the_same_weights_under_the_same_names_and_computes_the_same(model, optimised):
    convs = [layer for layer in optimised.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert {type(layer) for layer in convs} == {PackedConv2d}
    kinds = [type(layer) for layer in optimised.modules()]
    assert kinds.count(module.LiteBlockInParts) > 10 and kinds.count(module.FusedLiteLayer) > 20
    plain, fast = model.state_dict(), optimised.state_dict()
    assert list(plain) == list(fast) and all(torch.equal(plain[name], fast[name]) for name in plain)
    torch.manual_seed(0)
    image = torch.randn(1, 3, 64, 96).contiguous(memory_format=torch.channels_last)
    for a, b in zip(model.key_encoder(image), optimised.key_encoder(image), strict=True):
        assert (a - b).abs().max() < 1e-4 * a.abs().max()


def test_layers_that_are_not_folded_keep_their_batch_norms():
    """What is optimised too early computes what it did."""
    model = load_state(lite_state())
    image = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        expected = model.key_encoder(image)[0]
        found = optimise_for_cpu(model, is_small=True).key_encoder(image)[0]
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


@torch.inference_mode()
def test_a_block_in_parts_of_its_channels_is_the_whole_block(optimised, monkeypatch):
    """Also where the parts are uneven, with stride and with a residual."""
    torch.manual_seed(0)
    image = torch.randn(1, 3, 64, 96).contiguous(memory_format=torch.channels_last)
    monkeypatch.setattr(module, "MOST_EXPANDED", 2**40)
    whole = optimised.key_encoder(image)
    calls, in_parts = [], module.LiteBlockInParts._in_parts
    monkeypatch.setattr(module.LiteBlockInParts, "_in_parts", lambda *args: calls.append(args[-2:]) or in_parts(*args))
    monkeypatch.setattr(module, "MOST_EXPANDED", 30_000)
    parts = optimised.key_encoder(image)
    assert any(width % part for width, part in calls) and len({width for width, _ in calls}) > 1
    for a, b in zip(whole, parts, strict=True):
        assert (a - b).abs().max() < 1e-4 * a.abs().max()


def test_folding_one_object_keeps_channels_last():
    """Else interpolation and pooling leave that layout, and everything after them is copied to and fro."""
    x = torch.randn(1, 8, 6, 10).to(memory_format=torch.channels_last)
    odd = x[:, None]  # its new axis has a stride of 8
    folded = fold_objects(odd)
    assert torch.equal(folded, x) and folded.data_ptr() == odd.data_ptr()
    up = torch.nn.functional.interpolate(folded, scale_factor=2, mode="bilinear", align_corners=False)
    assert up.is_contiguous(memory_format=torch.channels_last) and not up.is_contiguous()


def test_folding_several_objects_orders_them_clip_by_clip():
    x = torch.arange(2 * 3 * 4 * 2 * 2).view(2, 3, 4, 2, 2)
    assert torch.equal(fold_objects(x), x.reshape(6, 4, 2, 2))


@pytest.mark.parametrize("at_once", [1, 2, 5])
@torch.inference_mode()
def test_objects_in_parts_are_all_objects_together(model, at_once):
    """Also the last, smaller part; each object still sees the sum of all others' masks."""
    torch.manual_seed(0)
    image, masks = torch.randn(1, 3, 64, 96), torch.rand(1, 5, 64, 96)
    sizes = model.sizes
    readout, sensory = torch.rand(1, 5, sizes.value_channels, 4, 6), torch.rand(1, 5, sizes.sensory_channels, 4, 6)
    features = model.encode_key(image)[3]
    whole = (
        *model.encode_value(image, features[0], masks, sensory, True),
        *model.decode(features, readout, sensory, True),
    )
    largest = []
    model.decoder.register_forward_pre_hook(lambda _, inputs: largest.append(inputs[1].shape[1]))
    pieces = Pieces(objects=at_once)
    parts = (
        *model.encode_value(image, features[0], masks, sensory, True, pieces),
        *model.decode(features, readout, sensory, True, pieces=pieces),
    )
    assert max(largest) == at_once and sum(largest) == 5
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
