"""Arithmetic is counted, not guessed."""

import pytest
import torch
from torch import nn

from xmem.benchmark.arithmetic import count_gflop, frame_gflop, measured_peak, reading_gflop
from xmem.networks.xmem import lite_sizes, xmem_sizes


def test_a_convolution_counts_what_is_known_by_hand():
    conv = nn.Conv2d(8, 16, 3, padding=1, device="meta")
    image = torch.empty(1, 8, 20, 30, device="meta")
    by_hand = 2 * 16 * 8 * 3 * 3 * 20 * 30  # a multiplication and an addition for each weight and position
    assert count_gflop(lambda: conv(image)) == pytest.approx(by_hand / 1e9)


def test_a_read_counts_its_similarity_and_its_values():
    sizes = lite_sizes()  # 64 key and 128 value channels
    by_hand = 2 * (64 + 64 + 1) * 100 * 1000 + 2 * 30 * 128 * 100 * 3
    assert reading_gflop(sizes, 100, 1000, objects=3, top_k=30) == pytest.approx(by_hand / 1e9)


def test_the_released_network_is_counted_at_its_padded_size():
    full = frame_gflop(xmem_sizes(), 480, 854, 1, mem_every=5)
    assert 280 < full < 330  # about 290 without the value encoder's share: known from counting the layers
    assert full == pytest.approx(frame_gflop(xmem_sizes(), 480, 864, 1, mem_every=5))


def test_more_objects_cost_more_and_rarer_memory_frames_less_but_the_image_is_encoded_once():
    one, three = (frame_gflop(xmem_sizes(), 240, 432, objects, mem_every=5) for objects in (1, 3))
    assert one < three < 3 * one
    assert frame_gflop(xmem_sizes(), 240, 432, 1, mem_every=50) < one


def test_the_peak_is_measured_for_products_and_convolutions(monkeypatch):
    monkeypatch.setattr("xmem.benchmark.arithmetic.MATRIX_SIDES", {"cpu": (64,)})
    monkeypatch.setattr("xmem.benchmark.arithmetic.CONVOLUTIONS", ((8, 1), (8, 3)))
    speeds = measured_peak(torch.device("cpu"), torch.float32)
    assert list(speeds) == ["matrix product 64", "convolution 1x1, 8 channels", "convolution 3x3, 8 channels"]
    assert all(speed > 0 for speed in speeds.values())
