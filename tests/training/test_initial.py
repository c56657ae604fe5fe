"""ImageNet weights: each tensor in its place, and the change of input normalisation folded in."""

from dataclasses import replace

import pytest
import torch
import torchvision
from torch import nn

from xmem.engine.preparing import IMAGE_MEAN, IMAGE_STD
from xmem.errors import InputError
from xmem.networks.xmem import ModelSizes, XMem
from xmem.training.initial import load_lite0, load_resnet, soften_reading, source_name

SIZES = ModelSizes("lite", 8, 16, 8, (16, 16, 8), 16, 1)


def fake_imagenet(model: XMem) -> dict[str, torch.Tensor]:
    """A state dict with the names of the ImageNet file and random values."""
    generator = torch.Generator().manual_seed(1)
    state = {}
    for name, value in model.key_encoder.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            state[source_name(name)] = torch.rand(value.shape, generator=generator) + 0.1
    return state


def test_the_first_layer_sees_images_as_the_imagenet_weights_did():
    model = XMem(SIZES).eval()
    source = fake_imagenet(model)
    load_lite0(model, source)
    image = torch.rand(1, 3, 32, 32)
    theirs = (image - 127 / 255) / (128 / 255)
    ours = (image - torch.tensor(IMAGE_MEAN).view(3, 1, 1)) / torch.tensor(IMAGE_STD).view(3, 1, 1)
    conv = nn.functional.conv2d(theirs, source["_conv_stem.weight"], stride=2, padding=1)
    norm = (source[f"_bn0.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    expected = nn.functional.batch_norm(conv, *norm, eps=1e-3)
    inner = slice(1, None)  # the zero padding stands for another colour
    result = model.key_encoder.stem[1](model.key_encoder.stem[0](ours))
    torch.testing.assert_close(result[..., inner, inner], expected[..., inner, inner], rtol=1e-4, atol=1e-4)


def test_both_encoders_start_from_the_same_weights_and_masks_from_noise():
    model = XMem(SIZES)
    source = fake_imagenet(model)
    load_lite0(model, source)
    torch.testing.assert_close(model.key_encoder.blocks[8].project[0].weight, source["_blocks.8._project_conv.weight"])
    stems = model.key_encoder.stem[0].weight, model.value_encoder.stem[0].weight
    torch.testing.assert_close(stems[1][:, :3], stems[0])
    assert stems[1].shape[1] == 5 and stems[1][:, 3:].std() > 0


def test_other_weights_are_refused():
    with pytest.raises(InputError, match="EfficientNet-lite0"):
        load_lite0(XMem(SIZES), {"conv1.weight": torch.zeros(1)})


def test_resnets_start_the_full_networks_encoders():
    torch.manual_seed(0)
    model = XMem(replace(SIZES, encoder="resnet"))
    deep, shallow = torchvision.models.resnet50(), torchvision.models.resnet18()
    load_resnet(model, deep.state_dict())
    load_resnet(model, shallow.state_dict())
    assert torch.equal(model.key_encoder.res2[2].conv3.weight, deep.layer1[2].conv3.weight)
    assert torch.equal(model.value_encoder.layer3[1].conv2.weight, shallow.layer3[1].conv2.weight)
    assert torch.equal(model.value_encoder.conv1.weight[:, :3], shallow.conv1.weight)
    assert model.value_encoder.conv1.weight[:, 3:].std() > 0


def test_softened_reading_spreads_over_more_elements_and_changes_nothing_else():
    """Keys far apart leave one element all the weight, and the softmax no gradient."""
    torch.manual_seed(0)
    model = XMem(SIZES).eval()
    model.key_proj.key_proj.weight.data.mul_(4e6)  # random features are small
    image = torch.randn(1, 3, 64, 64)

    def largest_weight() -> float:
        key, shrinkage, selection, _ = model.encode_key(image)
        key, selection = key.flatten(2), selection.flatten(2)  # [1, C, N]
        squares = ((key[:, :, :, None] - key[:, :, None]) ** 2 * selection[:, :, None]).sum(1)  # [1, N, query]
        distance = squares + 1e9 * torch.eye(squares.shape[-1])  # not with itself
        return torch.softmax(-distance * shrinkage.flatten(2).mT / 8, 1).amax(1).mean().item()

    before, state = largest_weight(), {name: value.clone() for name, value in model.state_dict().items()}
    soften_reading(model)
    assert before > 0.9 and largest_weight() < 0.7 * before
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, state[name])}
    assert all(name.startswith("key_proj.") for name in changed)
