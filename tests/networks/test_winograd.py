"""Winograd's convolutions give what direct ones give, and are used only where they may be."""

import copy
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F

from xmem.networks.cpu import winograd_gain
from xmem.networks.cpu.winograd import transform_kernels, transforms, winograd_conv
from xmem.networks.cpu.winograd_gain import MEASURED, gain
from xmem.networks.cpu.winograd_layer import WinogradConv2d, use_winograd
from xmem.networks.xmem.blocks import JointConv2d


def layer(in_channels: int, out_channels: int, bias: bool = True) -> JointConv2d:
    conv = JointConv2d(in_channels, out_channels, 3, padding=1, bias=bias)
    return conv.requires_grad_(False)


def winograd_of(conv: JointConv2d) -> WinogradConv2d:
    """A copy that shares the weights."""
    conv = copy.copy(conv)
    conv.__class__, conv._packed = WinogradConv2d, {}
    return conv


def test_one_dimensional_transforms_are_an_exact_correlation():
    products, kernels, inputs = transforms()
    x, kernel = torch.randn(6).double(), torch.randn(3).double()
    direct = torch.stack([(x[i : i + 3] * kernel).sum() for i in range(4)])
    torch.testing.assert_close(products @ ((kernels @ kernel) * (inputs @ x)), direct)


@pytest.mark.parametrize("size", [(16, 16), (15, 27), (13, 9), (4, 4), (3, 5), (1, 1), (120, 54), (61, 130)])
@pytest.mark.parametrize("bias", [True, False])
def test_any_size_gives_the_direct_convolution(size, bias):
    conv = layer(24, 40, bias)
    x = torch.randn(2, 24, *size).contiguous(memory_format=torch.channels_last)
    out = winograd_conv(x, transform_kernels(conv.weight), conv.bias)
    torch.testing.assert_close(out, conv(x), rtol=0, atol=2e-5)
    assert out.is_contiguous(memory_format=torch.channels_last)
    onto = torch.randn_like(out)
    fused = winograd_conv(x, transform_kernels(conv.weight), conv.bias, relu=True, onto=onto)
    torch.testing.assert_close(fused, F.relu(conv(x) + onto), rtol=0, atol=2e-5)


def test_inputs_in_the_other_layout_are_taken_too():
    conv, x = layer(16, 16), torch.randn(1, 16, 9, 10)
    torch.testing.assert_close(winograd_conv(x, transform_kernels(conv.weight), conv.bias), conv(x), rtol=0, atol=2e-5)


def test_many_channels_stay_within_float32_rounding():
    """1600 -> 512 channels, the released decoder's widest layer: errors add up over input channels."""
    conv = layer(1600, 512)
    x = torch.randn(1, 1600, 30, 54).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(winograd_conv(x, transform_kernels(conv.weight), conv.bias), conv(x), rtol=0, atol=2e-5)


def test_a_layer_goes_winograds_way_only_where_it_was_measured_faster(monkeypatch):
    calls = []

    def counted(x, *arguments):
        calls.append(tuple(x.shape))
        return winograd_conv(x, *arguments)

    monkeypatch.setattr("xmem.networks.cpu.winograd_layer.winograd_conv", counted)
    wide, narrow = winograd_of(layer(256, 256)), winograd_of(layer(256, 64))
    with torch.inference_mode():
        wide(torch.randn(1, 256, 30, 54))
        assert len(calls) == 1
        narrow(torch.randn(1, 256, 30, 54))  # the transforms would cost more than they save
        wide(torch.randn(1, 256, 8, 8))  # too few tiles were measured
        wide.bfloat16()(torch.randn(1, 256, 30, 54).bfloat16())  # other rounding
    assert len(calls) == 1
    x = torch.randn(1, 256, 30, 54, requires_grad=True)  # a graph for gradients
    wide.float()(x).sum().backward()
    assert len(calls) == 1 and x.grad is not None


def test_gain_is_read_from_the_next_smaller_entry():
    assert gain(300, 300, 30 * 54) == gain(256, 256, 30 * 54) == MEASURED[30 * 54][2][2]
    assert gain(63, 256, 30 * 54) == 0 == gain(256, 63, 30 * 54) == gain(256, 256, 15 * 27 - 1)
    assert gain(4096, 4096, 10**6) == MEASURED[120 * 216][-1][-1]


def test_a_machine_on_which_it_is_slower_goes_the_direct_way():
    slower = {size: 0.5 for size in MEASURED}
    assert gain(256, 256, 30 * 54, slower) == gain(256, 256, 30 * 54) / 2 < winograd_gain.LEAST_GAIN


@pytest.fixture
def measurements(monkeypatch, tmp_path):
    """The machine's measurements so far; the user's cache is in a folder of the test."""
    seen = []

    def measured():
        seen.append(1.0 + len(seen) / 8)
        return dict.fromkeys(MEASURED, seen[-1])

    monkeypatch.setattr(winograd_gain, "measured_corrections", measured)
    monkeypatch.setattr(winograd_gain, "user_cache_path", lambda *_, **__: tmp_path / "cache" / "xmem")
    return seen


def test_a_machine_is_measured_once_for_each_number_of_threads(measurements, tmp_path):
    corrections = winograd_gain.corrections.__wrapped__  # as in a new process
    assert [corrections(threads)[30 * 54] for threads in (2, 2, 4, 2, 4)] == [1, 1, 1.125, 1, 1.125]
    assert len(measurements) == 2
    kept = list((tmp_path / "cache" / "xmem").iterdir())
    assert len(kept) == 2 and all(path.suffix == ".json" for path in kept)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"405": "much"}'], ids=repr)
def test_a_damaged_measurement_is_made_anew(measurements, tmp_path, content):
    winograd_gain.corrections.__wrapped__(2)
    (kept,) = (tmp_path / "cache" / "xmem").iterdir()
    kept.write_text(content)
    assert winograd_gain.corrections.__wrapped__(2) == dict.fromkeys(MEASURED, 1.125)
    assert winograd_gain.corrections.__wrapped__(2) == dict.fromkeys(MEASURED, 1.125), "and kept"


def test_a_cache_that_cannot_be_written_is_no_failure(measurements, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert winograd_gain.corrections.__wrapped__(2) == dict.fromkeys(MEASURED, 1.0)


def test_processes_that_measure_at_the_same_time_leave_one_whole_measurement(measurements, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(winograd_gain.corrections.__wrapped__, [2] * 40))
    assert all(set(one) == set(MEASURED) for one in found)
    (kept,) = (tmp_path / "cache" / "xmem").iterdir()
    assert json.loads(kept.read_text()).keys() == {str(size) for size in MEASURED}


def test_a_measurement_times_both_ways_and_believes_no_extremes(monkeypatch):
    monkeypatch.setattr(winograd_gain, "SHAPES", dict.fromkeys(MEASURED, (8, 12)))
    monkeypatch.setattr(winograd_gain, "PROBES", dict.fromkeys(MEASURED, (64, 64)))
    found = winograd_gain.measured_corrections()
    assert set(found) == set(MEASURED) and all(0.5 <= correction <= 1.25 for correction in found.values())


def test_split_convolutions_use_the_right_half_of_the_kernels():
    conv = layer(512 + 256, 256)
    shared, own = torch.randn(1, 512, 30, 54), torch.randn(1, 2, 256, 30, 54)
    with torch.inference_mode():
        plain = conv.add_own_half(conv.shared_half(shared), own)
        winograd = winograd_of(conv)
        fast = winograd.add_own_half(winograd.shared_half(shared), own)
        whole = F.conv2d(torch.cat([shared, own[:, 1]], 1), conv.weight, conv.bias, padding=1)
    torch.testing.assert_close(fast, plain, rtol=0, atol=2e-5)
    torch.testing.assert_close(fast[:, 1], whole, rtol=0, atol=2e-5)


def test_state_dict_and_unfit_layers_stay_as_they_are():
    model = torch.nn.Sequential(layer(128, 256), torch.nn.Conv2d(256, 256, 3, stride=2, padding=1), layer(8, 8))
    names = list(model.state_dict())
    use_winograd(model)
    assert [type(part) is WinogradConv2d for part in model] == [True, False, False]
    assert list(model.state_dict()) == names
