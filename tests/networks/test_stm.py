"""STM's networks give the released implementation's tensors (tests/reference/families/stm)."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference_weights import FOLDER, TOLERANCE, family_state

from xmem.errors import InputError
from xmem.networks import padding_to_stride
from xmem.networks.cpu import fold_batch_norm, optimise_for_cpu
from xmem.networks.stm import load_state
from xmem.pieces import WHOLE, Pieces

MEAN, STD = (torch.tensor(x)[:, None, None] for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
CLIP = FOLDER / "families" / "stm" / "two-objects.npz"


@pytest.fixture(scope="module")
def state():
    return family_state("stm", int(np.load(CLIP)["salt"]))


def padded(x):
    return F.pad(x, padding_to_stride(*x.shape[-2:]))


@torch.inference_mode()
@pytest.mark.parametrize("is_folded", [False, True])
def test_stage_tensors_match_the_released_implementation(state, is_folded):
    """Each network by itself, so that a difference on a frame can be placed; also as the engine runs them: the batch
    norm of the memory encoder's stem comes after the sum of three convolutions."""
    clip, network = np.load(CLIP), load_state(state)
    if is_folded:
        network = optimise_for_cpu(fold_batch_norm(network).to(memory_format=torch.channels_last), is_small=False)

    def image(t):
        return (padded(torch.from_numpy(clip["frames"][t]).permute(2, 0, 1)[None] / 255) - MEAN) / STD

    def check(name, value):
        assert np.abs(value.numpy() - clip[f"stage_{name}"]).max() < TOLERANCE, name

    masks = padded(torch.stack([torch.from_numpy(clip["mask_0"] == i) for i in (1, 2)])[None].float())
    keys, values = network.encode_memory(image(0), masks)  # [1, 2, C, h, w]
    check("key", keys[0])
    check("value", values[0, :, ::4])
    query, (value, r3, r2) = network.encode_query(image(1))
    for name, tensor, step in (("query_key", query, 1), ("query_value", value, 4), ("r3", r3, 32), ("r2", r2, 64)):
        check(name, tensor[:, ::step])
    weights = (keys[0].flatten(2).transpose(1, 2) @ query[0].flatten(1) / 128**0.5).softmax(1)  # [2, N, HW]
    readout = (values[0].flatten(2) @ weights).view(values.shape)
    check("readout", readout[0, :, ::4])
    logits = network.decode(network.image_part((value, r3, r2)), readout)
    background, foreground = clip["stage_logits"].swapaxes(0, 1)
    assert np.abs(logits[0, :, ::4, ::4].numpy() - (foreground - background)).max() < TOLERANCE


def test_names_without_the_prefix_of_parallel_training_load_as_well(state):
    plain = {name.removeprefix("module."): value for name, value in state.items()}
    network = load_state(plain)
    assert np.array_equal(network.Decoder.pred2.weight, state["module.Decoder.pred2.weight"])


@torch.inference_mode()
def test_the_others_masks_sum_to_one_at_most_and_fewer_objects_at_once_give_the_same_numbers(state):
    network = load_state(state)
    image, masks = torch.rand(1, 3, 32, 48), torch.ones(1, 3, 32, 48)
    _, features = network.encode_query(image)
    image_part = network.image_part(features)
    results = []
    for pieces in (WHOLE, Pieces(objects=2), Pieces(objects=1)):
        keys, values = network.encode_memory(image, masks, pieces)
        results.append((keys, values, network.decode(image_part, values, pieces)))
    for result in results[1:]:
        assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(result, results[0], strict=True))
    pair = network.encode_memory(image, masks[:, :2])[0]
    assert torch.allclose(pair, keys[:, :2], atol=1e-4), "one other object, or two that both claim a pixel"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("module.Decoder.pred2.bias", None, "not a complete STM checkpoint: they lack 'Decoder.pred2.bias'"),
        ("module.Encoder_M.conv1_o.weight", None, "they lack 'Encoder_M.conv1_o.weight'"),
        ("module.extra", np.zeros(3), "unknown 'extra'"),
        ("module.Encoder_M.conv1_m.weight", np.zeros((64, 2, 7, 7), np.float32), "'Encoder_M.conv1_m.weight' is"),
        ("module.Encoder_M.mean", np.full((1, 3, 1, 1), 0.5, np.float32), "'Encoder_M.mean' is not"),
        ("module.Encoder_Q.std", None, "'Encoder_Q.std' is not"),
        ("module.Decoder.pred2.bias", np.full(2, np.nan, np.float32), "not finite"),
    ],
)
def test_damaged_or_foreign_weights_are_refused(state, name, value, sentence):
    broken = {**state, name: value}
    with pytest.raises(InputError, match=sentence):
        load_state({name: value for name, value in broken.items() if value is not None})
