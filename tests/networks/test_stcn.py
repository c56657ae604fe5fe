"""STCN's networks give the released implementation's tensors (tests/reference/families/stcn)."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference_weights import FOLDER, TOLERANCE, family_state, released_shapes

from xmem.errors import InputError
from xmem.networks import padding_to_stride
from xmem.networks.cpu import fold_batch_norm, optimise_for_cpu
from xmem.networks.stcn import load_state
from xmem.networks.xmem import soft_aggregate
from xmem.pieces import WHOLE, Pieces

CLIP = FOLDER / "families" / "stcn" / "late-object.npz"
MEAN, STD = (torch.tensor(x)[:, None, None] for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


@pytest.fixture(scope="module")
def state():
    return family_state("stcn")


def padded(x):
    return F.pad(x, padding_to_stride(*x.shape[-2:]))


@torch.inference_mode()
@pytest.mark.parametrize("is_folded", [False, True])
def test_stage_tensors_match_the_released_implementation(state, is_folded):
    """Each network by itself, so that a difference on a frame can be placed; also as the engine runs them."""
    clip, network = np.load(CLIP), load_state(state)
    if is_folded:
        network = optimise_for_cpu(fold_batch_norm(network).to(memory_format=torch.channels_last), is_small=False)

    def image(t):
        x = torch.from_numpy(clip["frames"][t]).permute(2, 0, 1) / 255
        return padded(((x - MEAN) / STD)[None])

    def check(name, value):
        assert np.abs(value.numpy() - clip[f"stage_{name}"]).max() < TOLERANCE, name

    key, (f16, f8, f4) = network.encode_key(image(0))
    check("key", key)
    check("thin", network.key_comp(f16)[:, ::8])
    for name, value, step in (("f16", f16, 16), ("f8", f8, 32), ("f4", f4, 64)):
        check(name, value[:, ::step])
    masks = torch.from_numpy(clip["mask_0"] == 1)[None, None].float()
    value = network.encode_value(image(0), f16, soft_aggregate(padded(masks))[:, 1:])  # [1, 1, C_v, h, w]
    check("value", value[0, :, ::4])
    query, features = network.encode_key(image(1))
    distances = torch.cdist(query[0].flatten(1).T, key[0].flatten(1).T).square() / 8  # [HW, N]
    best = (-distances).topk(20)
    weights = torch.zeros_like(distances).scatter_(1, best.indices, best.values.softmax(1))
    readout = (value.flatten(3) @ weights.T).view(value.shape)
    check("readout", readout[0, :, ::4])
    logits = network.decode(network.image_part(features), readout)  # [1, 1, H, W]
    check("logits", logits[..., ::4, ::4])


def test_the_released_names_and_shapes_are_ours(state):
    ours = {name: tuple(value.shape) for name, value in load_state(state).state_dict().items()}
    assert ours == released_shapes(FOLDER / "families" / "stcn")


def test_prefixes_of_parallel_training_and_half_precision_make_no_difference(state):
    parallel = {f"module.{name}": torch.from_numpy(value).half() for name, value in state.items() if value.ndim}
    parallel |= {f"module.{name}": value for name, value in state.items() if not value.ndim}
    network = load_state(parallel)
    assert network.dtype == torch.float32
    assert torch.allclose(network.key_comp.weight, torch.from_numpy(state["key_comp.weight"]), atol=1e-3)


def test_weights_of_still_images_get_a_zero_channel_for_other_objects(state):
    stem = "value_encoder.conv1.weight"
    weight = load_state(state | {stem: state[stem][:, :4]}).value_encoder.conv1.weight
    assert np.array_equal(weight[:, :4], state[stem][:, :4]) and (weight[:, 4] == 0).all()


@torch.inference_mode()
def test_fewer_objects_at_once_give_the_same_numbers(state):
    network = load_state(state)
    image, masks = torch.randn(1, 3, 32, 48), torch.rand(1, 3, 32, 48)
    _, features = network.encode_key(image)
    image_part = network.image_part(features)
    results = []
    for pieces in (WHOLE, Pieces(objects=2), Pieces(objects=1)):
        values = network.encode_value(image, features[0], masks, pieces)
        results.append((values, network.decode(image_part, values, pieces)))
    for values, logits in results[1:]:
        assert torch.allclose(values, results[0][0], atol=1e-4) and torch.allclose(logits, results[0][1], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("key_comp.bias", None, "not a complete STCN checkpoint: they lack 'key_comp.bias'"),
        ("extra", np.zeros(3), "unknown 'extra'"),
        ("value_encoder.layer1.0.conv1.bias", np.zeros(65, np.float32), "where STCN has"),
        ("decoder.pred.bias", np.full(1, np.nan, np.float32), "not finite"),
    ],
)
def test_damaged_or_foreign_weights_are_refused(state, name, value, sentence):
    broken = {**state, name: value}
    with pytest.raises(InputError, match=sentence):
        load_state({name: value for name, value in broken.items() if value is not None})
