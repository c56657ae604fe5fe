"""Weights become a network only if they are a complete, finite XMem; otherwise one sentence says what is wrong."""

import numpy as np
import pytest
import torch
from reference_weights import released_shapes, released_state

from xmem.errors import InputError
from xmem.networks.cpu import fold_batch_norm
from xmem.networks.xmem import XMem, lite_sizes, load_state, xmem_sizes


@pytest.fixture(scope="module")
def state():
    return released_state()


def test_sizes_are_read_off_the_weights(state, tiny_model):
    assert load_state(state).sizes == xmem_sizes()
    assert load_state(tiny_model.state_dict()).sizes == lite_sizes()


def test_a_checkpoint_without_sensory_memory_is_one():
    assert load_state(released_state(sensory=False)).sizes == xmem_sizes(sensory_channels=0)


def test_the_released_names_and_shapes_are_ours(state):
    ours = {name: tuple(value.shape) for name, value in load_state(state).state_dict().items()}
    assert ours == released_shapes()


def test_a_value_encoder_for_one_object_gets_a_zero_channel(state):
    single = dict(state)
    single["value_encoder.conv1.weight"] = state["value_encoder.conv1.weight"][:, :4]
    weight = load_state(single).value_encoder.conv1.weight
    assert weight.shape[1] == 5 and (weight[:, 4] == 0).all()
    assert np.array_equal(weight[:, :4], single["value_encoder.conv1.weight"])


def test_half_precision_files_load_as_float32(tiny_model):
    half = {name: value.half() for name, value in tiny_model.state_dict().items()}
    assert load_state(half).dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.pop("decoder.pred.bias"), "lack 'decoder.pred.bias'"),
        (lambda s: s.update(extra=np.zeros(3)), "unknown 'extra'"),
        (lambda s: s.update({"decoder.pred.bias": np.zeros(2, np.float32)}), "do not fit together"),
        (lambda s: s.update({"decoder.pred.bias": np.full(1, np.nan, np.float32)}), "not finite"),
        (lambda s: s.clear(), "not an XMem checkpoint"),
    ],
)
def test_damaged_or_foreign_weights_are_refused(state, change, sentence):
    broken = dict(state)
    change(broken)
    with pytest.raises(InputError, match=sentence):
        load_state(broken)


def test_xmem_lite_fits_in_ten_megabytes_of_half_precision():
    with torch.device("meta"):
        model = XMem(lite_sizes())
    assert sum(value.numel() for value in model.state_dict().values()) * 2 < 10e6


def test_folding_batch_norm_changes_no_output(state):
    """The released networks and xmem-lite give the same numbers with fewer passes over memory."""
    torch.manual_seed(0)
    image = torch.randn(1, 3, 64, 96)
    lite = XMem(lite_sizes()).eval()
    for module in lite.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # fresh statistics would fold to nothing
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    for model in (load_state(state), lite):
        with torch.inference_mode():
            expected = model.encode_key(image)[0]
            folded = fold_batch_norm(model)
            assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
            assert torch.allclose(folded.encode_key(image)[0], expected, atol=1e-4)
