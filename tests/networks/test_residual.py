"""Residual blocks with what follows each convolution in its pass, against the plain ones."""

import copy

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from xmem.networks.cpu import fold_batch_norm, optimise_for_cpu, packed
from xmem.networks.cpu.residual import ConvReLU, FusedResidualBlock
from xmem.networks.cpu.resnet import FusedBasicBlock, FusedBottleneck
from xmem.networks.cpu.winograd_layer import WinogradConv2d
from xmem.networks.xmem.blocks import ResidualBlock
from xmem.networks.xmem.encoders import ResNetKeyEncoder


def shortcut(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out))


BLOCKS = {
    "bottleneck": (lambda: Bottleneck(64, 16), FusedBottleneck),
    "bottleneck with a shortcut": (lambda: Bottleneck(64, 32, downsample=shortcut(64, 128)), FusedBottleneck),
    "basic": (lambda: BasicBlock(64, 64), FusedBasicBlock),
    "basic with a shortcut": (lambda: BasicBlock(64, 32, downsample=shortcut(64, 32)), FusedBasicBlock),
    "residual": (lambda: ResidualBlock(64, 64, 3), FusedResidualBlock),
    "residual with a shortcut": (lambda: ResidualBlock(64, 32, 1), FusedResidualBlock),
}


def both(block: nn.Module, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, nn.Module]:
    """The block with its batch norms folded, and a copy of it that is made fast."""
    torch.manual_seed(0)
    for norm in block.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean), nn.init.uniform_(norm.weight)
    plain = fold_batch_norm(block.eval().requires_grad_(False)).to(dtype, memory_format=torch.channels_last)
    return plain, optimise_for_cpu(nn.Sequential(copy.deepcopy(plain)), is_small=False)[0]


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    tolerance = 2e-5 if found.dtype == torch.float32 else 0.05
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", BLOCKS)
@torch.no_grad()
def test_a_fused_block_is_the_plain_one_and_leaves_its_input_alone(name, dtype):
    make, kind = BLOCKS[name]
    plain, fast = both(make(), dtype)
    assert type(fast) is kind and list(fast.state_dict()) == list(plain.state_dict())
    for size in [(12, 20), (9, 7)]:
        x = torch.randn(2, 64, *size, dtype=dtype)
        before = x.clone()
        close(fast(x), plain(x))
        assert torch.equal(x, before)


@pytest.mark.parametrize("width", [32, 256])
@torch.no_grad()
def test_a_block_that_joins_two_inputs_does_so_for_every_object(width):
    """Where Winograd's way is taken as well."""
    plain, fast = both(ResidualBlock(64 + 256, width, 3))
    assert isinstance(fast.conv2, WinogradConv2d) == (width == 256)
    shared, own = torch.randn(1, 64, 30, 54), torch.randn(1, 2, 256, 30, 54)
    close(fast.fuse(fast.shared_half(shared), own), plain.fuse(plain.shared_half(shared), own))


@torch.no_grad()
def test_the_stem_of_a_resnet_has_its_relu_in_its_pass():
    plain, fast = both(ResNetKeyEncoder())
    assert type(fast.conv1) is ConvReLU and type(fast.layer3[5]) is FusedBottleneck
    x = torch.randn(1, 3, 48, 64)
    for found, expected in zip(fast(x), plain(x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@torch.no_grad()
def test_where_torch_has_no_such_operators_blocks_compute_as_before(monkeypatch):
    monkeypatch.setattr(packed, "is_available", lambda dtype: False)
    for make, _ in BLOCKS.values():
        plain, fast = both(make())
        x = torch.randn(1, 64, 9, 7)
        close(fast(x), plain(x))
