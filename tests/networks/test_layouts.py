"""What makes the small network fast on a CPU changes none of its results."""

import pytest
import torch
from reference_weights import draw

from xmem.networks.xmem import XMem, fold_batch_norm, lite_sizes, load_state
from xmem.networks.xmem import encoders as module
from xmem.networks.xmem.blocks import fold_objects
from xmem.pieces import Pieces


@pytest.fixture(scope="module")
def model() -> XMem:
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in XMem(lite_sizes()).state_dict().items()}
    return fold_batch_norm(load_state({name: draw(name, shape, salt=1) for name, shape in shapes.items()}))


@torch.inference_mode()
def test_a_block_in_parts_of_its_channels_is_the_whole_block(model, monkeypatch):
    """Also where the parts are uneven, with stride and with a residual."""
    torch.manual_seed(0)
    image = torch.randn(1, 3, 64, 96)
    monkeypatch.setattr(module, "MOST_EXPANDED", 2**40)
    whole = model.key_encoder(image)
    calls, in_parts = [], module.LiteBlock._in_parts
    monkeypatch.setattr(module.LiteBlock, "_in_parts", lambda *args: calls.append(args[-2:]) or in_parts(*args))
    monkeypatch.setattr(module, "MOST_EXPANDED", 30_000)
    parts = model.key_encoder(image)
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
