"""Shared by all tests: the folder of helpers on the path, and a small network of random weights."""

import sys
from pathlib import Path

import pytest

import xmem  # noqa: F401 - before torch: it decides how torch's threads wait

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def tiny_model():
    """An xmem-lite of random weights in evaluation mode: right shapes and speed, meaningless masks."""
    import torch

    from xmem.network import XMem, lite_sizes

    torch.manual_seed(0)
    return XMem(lite_sizes()).eval().requires_grad_(False)
