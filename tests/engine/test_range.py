"""float16 holds numbers up to 65,504: a network that goes beyond them says so, and does not go on with empty masks."""

import logging

import numpy as np
import pytest
import torch

from tests.tiny_model import tiny_state
from xmem import InputError, Propagator
from xmem.checkpoints.load import within_range
from xmem.families import fits_range
from xmem.networks.xmem import load_state

FRAME = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
MASK = np.zeros((48, 64), np.uint8)
MASK[8:24, 8:40] = 1


def network(scale: float, dtype: torch.dtype):
    """The smallest network, with the last layer of its value encoder made larger."""
    state = tiny_state()
    state["value_encoder.fuser.block2.conv2.weight"] = state["value_encoder.fuser.block2.conv2.weight"] * scale
    return load_state(state).to(dtype)


@pytest.mark.parametrize(("scale", "dtype", "fits"), [(1, torch.float16, True), (1e6, torch.float16, False)])
def test_overflow_is_said_at_the_first_frame_that_is_remembered(scale, dtype, fits):
    engine = Propagator(network(scale, dtype))
    if fits:
        assert torch.isfinite(engine.step(FRAME, MASK)).all()
    else:
        with pytest.raises(InputError, match="beyond what float16 holds: choose bfloat16 or float32"):
            engine.step(FRAME, MASK)


def test_other_precisions_are_not_looked_at(monkeypatch):
    """Looking waits for the device."""
    monkeypatch.setattr("xmem.engine.propagator.overflows", lambda _state: pytest.fail("looked"))
    Propagator(network(1, torch.bfloat16)).step(FRAME, MASK)


def test_a_precision_that_nobody_named_gives_way_to_bfloat16_and_says_so(caplog):
    small, large = network(1, torch.float16), network(1e6, torch.float16)
    assert fits_range(small) and within_range(small) is small
    with caplog.at_level(logging.WARNING, "xmem"):
        assert within_range(large).dtype == torch.bfloat16
    assert "computes in bfloat16 instead" in caplog.text
