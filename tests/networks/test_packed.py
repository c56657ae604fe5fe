"""Packed convolutions against the plain ones."""

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from xmem.checkpoints import load_model
from xmem.networks.cpu import packed
from xmem.networks.cpu.packed import ALL, RELU6, PackedConv2d, use_packed
from xmem.networks.network import Network

LAYERS = {  # of xmem-lite: in, out, kernel, stride, padding, groups
    "stem": (3, 32, 3, 2, 1, 1),
    "depthwise": (48, 48, 5, 2, 2, 48),
    "projection": (96, 24, 1, 1, 0, 1),
    "decoder": (32, 16, 3, 1, 1, 1),
}


def layer(kind: str, dtype: torch.dtype) -> nn.Conv2d:
    torch.manual_seed(0)
    channels_in, channels_out, kernel, stride, padding, groups = LAYERS[kind]
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups)
    return conv.to(dtype, memory_format=torch.channels_last).requires_grad_(False)


def packed_of(conv: nn.Conv2d) -> PackedConv2d:
    """A copy that shares the weights."""
    (own,) = use_packed(nn.Sequential(copy.copy(conv)))
    return own


def conv_relu6(conv: PackedConv2d, x: torch.Tensor, channels: slice = ALL) -> torch.Tensor:
    return conv.part(x, ALL, channels, conv.bias[channels], RELU6)


def image(conv: nn.Conv2d, *size: int, channels: int | None = None) -> torch.Tensor:
    x = torch.randn(1, channels or conv.in_channels, *size, dtype=conv.weight.dtype)
    return x.contiguous(memory_format=torch.channels_last)


def near(found: torch.Tensor, expected: torch.Tensor) -> bool:
    tolerance = 1e-4 if found.dtype == torch.float32 else 0.03
    return found.shape == expected.shape and (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", LAYERS)
@torch.no_grad()
def test_a_packed_layer_is_the_plain_one_at_every_size(kind, dtype):
    """Sizes in turn, and back: weights packed for one are not used in a wrong way for another. Where the CPU takes no
    bfloat16, a packed layer still computes."""
    conv = layer(kind, dtype)
    own = packed_of(conv)
    for size in [(24, 40), (17, 23), (24, 40)]:
        x = image(conv, *size)
        assert near(own(x), conv(x)) and near(conv_relu6(own, x), F.relu6(conv(x)))


@torch.no_grad()
def test_sizes_that_come_by_turns_are_packed_once_each_and_no_more_are_held_than_asked_for():
    class ByTurns(Network):
        shapes_at_once = 2

        def __init__(self, conv):
            super().__init__()
            self.conv = conv

    conv = layer("decoder", torch.float32)
    own = use_packed(ByTurns(copy.copy(conv))).conv
    for size in [(24, 40), (17, 23), (24, 40), (12, 20)]:
        x = image(conv, *size)
        assert near(own(x), conv(x))
    (held,) = own._packed.values()
    assert [tuple(shape[2:]) for shape in held] == [(17, 23), (12, 20)]
    before = dict(held)
    own(image(conv, 17, 23))
    assert all(own._packed[place][shape] is before[shape] for place in own._packed for shape in before)


@torch.no_grad()
def test_parts_of_its_channels_sum_up():
    conv = layer("decoder", torch.float32)
    own, x = packed_of(conv), image(layer("decoder", torch.float32), 12, 20)
    whole = own.of_channels(x[:, :10], slice(10), conv.bias) + own.of_channels(x[:, 10:], slice(10, None), None)
    assert near(whole, conv(x))
    some = slice(4, 12)
    assert near(own.part(x, ALL, some, conv.bias[some]), conv(x)[:, some])
    depthwise = layer("depthwise", torch.float32)
    x = image(depthwise, 12, 20)
    assert near(conv_relu6(packed_of(depthwise), x[:, some], some), F.relu6(depthwise(x))[:, some])


def test_with_gradients_it_is_the_plain_layer():
    conv = layer("decoder", torch.float32)
    own, x = packed_of(conv), image(conv, 8, 8).requires_grad_()
    own(x).sum().backward()
    assert x.grad.abs().sum() > 0 and not own._packed


def refused(*_):
    raise RuntimeError("bf16 path needs the cpu support avx512bw")


@pytest.mark.parametrize(
    "operators", [None, SimpleNamespace(_reorder_convolution_weight=refused)], ids=["absent", "refusing"]
)
@torch.no_grad()
def test_where_torch_has_no_such_operators_or_they_refuse_a_type_it_is_the_plain_layer(monkeypatch, operators):
    conv = layer("decoder", torch.bfloat16)
    own, x = packed_of(conv), image(conv, 8, 8)
    monkeypatch.setattr(packed, "torch", SimpleNamespace(**{**vars(torch), "ops": SimpleNamespace(mkldnn=operators)}))
    monkeypatch.setattr(packed, "is_available", packed.is_available.__wrapped__)
    assert not packed.is_available(torch.bfloat16)
    assert torch.equal(own(x), conv(x)) and torch.equal(conv_relu6(own, x), F.relu6(conv(x))) and not own._packed


def test_the_embedded_model_is_packed_and_its_weights_keep_their_names():
    model = load_model("xmem-lite", "cpu")
    convs = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert {type(layer) for layer in convs} == {PackedConv2d}
    before = list(model.state_dict())
    assert list(use_packed(model).state_dict()) == before
