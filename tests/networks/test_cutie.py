"""Cutie's networks give the released implementation's tensors, and only complete Cutie weights become one."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from plain_cutie import MEAN, STD, PlainBucket, PlainFrame
from reference_weights import FOLDER, family_state

from xmem.errors import InputError
from xmem.networks import padding_to_stride
from xmem.networks.cpu import fold_batch_norm
from xmem.networks.cutie import CutieSizes, load_state
from xmem.networks.cutie.transformer import Attention, visible
from xmem.networks.xmem import soft_aggregate

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def state():
    return family_state("cutie")


def test_stage_tensors_match_the_released_implementation(state):
    """Each network by itself, batch norms folded, so that a difference on a frame can be placed."""
    reference = np.load(FOLDER / "families" / "cutie" / "late-object.npz")
    model = fold_batch_norm(load_state(state))

    def padded(x: torch.Tensor) -> torch.Tensor:
        return F.pad(x, padding_to_stride(*x.shape[-2:]))

    def image(t: int) -> torch.Tensor:
        x = padded(torch.from_numpy(reference["frames"][t]).permute(2, 0, 1)[None].float() / 255)
        return (x - MEAN[:, None, None]) / STD[:, None, None]

    def flat(*parts: torch.Tensor) -> list[torch.Tensor]:
        return [part[0].flatten(1) for part in parts]

    def check(name: str, value: torch.Tensor, *every: slice) -> None:
        assert np.abs(value[every].numpy() - reference[f"stage_{name}"]).max() < TOLERANCE, name

    whole, fourth = slice(None), slice(None, None, 4)
    key, shrinkage, selection, features = model.encode_image(image(0))
    check("key", key)
    check("shrinkage", shrinkage)
    check("selection", selection)
    check("pix", features.pix, whole, fourth)
    for name, value, step in zip(("f16", "f8", "f4"), model.pixel_encoder(image(0)), (16, 32, 64), strict=True):
        check(name, value, whole, slice(None, None, step))
    masks = soft_aggregate(padded(torch.from_numpy(reference["mask_0"] == 1)[None, None].float()))[:, 1:]
    sensory = model.initial_sensory(1, 1, *key.shape[-2:])
    values, sensory, summaries = model.encode_masks(image(0), features, masks, sensory)
    check("value", values, whole, whole, fourth)
    check("deep", sensory, whole, whole, fourth)
    check("summary", summaries)

    last_masks = F.avg_pool2d(masks, 16)
    check("last_mask", last_masks)
    memory = PlainBucket([1], {"top_k": 30}, [PlainFrame(*flat(key, shrinkage, selection), values[0].flatten(2))])
    query, _, selection, features = model.encode_image(image(1))
    readout = memory.read(*flat(query, selection)).unflatten(2, key.shape[-2:])[None]
    check("readout", readout, whole, whole, fourth)
    shared = model.pixel_fuser.fuser.image_part(features.pix)
    fused = model.pixel_fuser(shared, readout, sensory, last_masks)
    check("fused", fused, whole, whole, fourth)
    transformed, logits = model.object_transformer(fused, summaries)
    check("transformed", transformed, whole, whole, fourth)
    check("aux_logits", logits)
    logits, sensory = model.decode(features, transformed, sensory, update_sensory=True)
    check("logits", logits)
    check("sensory", sensory, whole, whole, fourth)


def test_sizes_are_read_off_the_weights(state):
    assert load_state(state).sizes == CutieSizes()


def test_the_released_names_and_shapes_are_ours(state):
    """But for what serves training alone and what is a formula."""
    ours = {name: tuple(value.shape) for name, value in load_state(state).state_dict().items()}
    left_out = ("aux_computer.", "object_transformer.spatial_pe.", "object_summarizer.pos_enc.")
    assert ours == {name: value.shape for name, value in state.items() if not name.startswith(left_out)}


def test_a_network_saved_again_is_the_same(state):
    again = load_state(load_state(state).state_dict())
    assert torch.equal(again.mask_decoder.pred.weight, torch.from_numpy(state["mask_decoder.pred.weight"]))


@pytest.mark.parametrize("name", ["mask_encoder.conv1.weight", "pixel_fuser.sensory_compress.weight"])
def test_weights_for_one_object_get_a_zero_channel(state, name):
    single = dict(state)
    single[name] = state[name][:, :-1]
    weight = load_state(single).get_parameter(name)
    assert weight.shape == state[name].shape and (weight[:, -1] == 0).all()
    assert np.array_equal(weight[:, :-1], single[name])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.pop("mask_decoder.pred.bias"), "lack 'mask_decoder.pred.bias'"),
        (lambda s: s.pop("object_transformer.query_init.weight"), "not a Cutie checkpoint"),
        (lambda s: s.update(extra=np.zeros(3)), "unknown 'extra'"),
        (lambda s: s.update({"mask_decoder.pred.bias": np.zeros(2, np.float32)}), "do not fit together"),
        (lambda s: s.update({"mask_decoder.pred.bias": np.full(1, np.nan, np.float32)}), "not finite"),
        (lambda s: s.update({"object_summarizer.pos_enc.inv_freq": np.ones(64, np.float32)}), "position code"),
        (lambda s: s.clear(), "not a Cutie checkpoint"),
    ],
)
def test_damaged_or_foreign_weights_are_refused(state, change, sentence):
    broken = dict(state)
    change(broken)
    with pytest.raises(InputError, match=sentence):
        load_state(broken)


def test_a_query_that_would_see_no_position_sees_all():
    logits = torch.full((1, 2, 1, 3), -5.0)
    logits[0, 0, 0, 0] = 5.0  # the first object has one position, the second none
    seen = visible(logits, queries=4)  # [1, 2, 4, 3]
    assert seen[0, 0].tolist() == [[True, False, False]] * 2 + [[False, True, True]] * 2
    assert seen[0, 1].all()


def test_attention_between_few_and_many_is_plain_multi_head_attention():
    """Whichever of the two orders of its products is taken."""
    torch.manual_seed(0)
    ours, plain = Attention(32), torch.nn.MultiheadAttention(32, 8, batch_first=True)
    torch.nn.init.normal_(plain.in_proj_bias)
    ours.load_state_dict(plain.state_dict())
    few, many, code = torch.randn(2, 6, 32), torch.randn(2, 40, 32), torch.randn(2, 40, 32)
    seen = torch.rand(2, 6, 40) > 0.5
    hidden = ~seen.repeat_interleave(8, 0)
    expected = plain(few, many + code, many, attn_mask=hidden)[0]
    assert torch.allclose(ours.few_read_many(few, many + code, many, seen), expected, atol=1e-5)
    expected = plain(many + code, few, few)[0]
    assert torch.allclose(ours.many_read_few(many + code, few, few), expected, atol=1e-5)
    assert torch.allclose(ours(many + code, few, few), expected, atol=1e-5)
