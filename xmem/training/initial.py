"""ImageNet weights as the start of the encoders: EfficientNet-lite0 for xmem-lite, ResNets for XMem."""

import torch
from torch import Tensor

from xmem.engine.preparing import IMAGE_MEAN, IMAGE_STD
from xmem.errors import InputError
from xmem.networks.xmem import XMem

SOURCE_MEAN, SOURCE_STD = 127 / 255, 128 / 255  # what the ImageNet weights were trained with
LAYERS = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}
NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


def source_name(name: str) -> str:
    """The ImageNet file's name of a tensor of a lite encoder ('stem.0.weight', 'blocks.3.expand.1.bias')."""
    parts = name.split(".")
    if parts[0] == "stem":
        return ("_conv_stem." if parts[1] == "0" else "_bn0.") + parts[2]
    conv, norm = LAYERS[parts[2]]
    return f"_blocks.{parts[1]}.{(conv, norm)[int(parts[3])]}.{parts[4]}"


def encoder_state(source: dict[str, Tensor], names: list[str]) -> dict[str, Tensor]:
    """Tensors of a lite encoder from an ImageNet state dict, with the change of input normalisation folded in.

    With y the engine's normalised input, the source's is x = a * y + b per channel; a goes into the first
    convolution's weights and b, a constant per output channel, into the mean of the norm behind it.
    """
    state = {name: source[source_name(name)].clone() for name in names if not name.endswith("num_batches_tracked")}
    scale = torch.tensor([std / SOURCE_STD for std in IMAGE_STD])
    shift = torch.tensor([(mean - SOURCE_MEAN) / SOURCE_STD for mean in IMAGE_MEAN])
    weight = state["stem.0.weight"]
    state["stem.1.running_mean"] = state["stem.1.running_mean"] - (weight * shift[:, None, None]).sum((1, 2, 3))
    state["stem.0.weight"] = weight * scale[:, None, None]
    return state


def load_resnet(model: XMem, source: dict[str, Tensor]) -> None:
    """Start XMem's key encoder from a torchvision ResNet-50, or its value encoder from a ResNet-18.

    Raises InputError where the weights are neither.
    """
    is_deep = "layer1.0.conv3.weight" in source
    encoder = model.key_encoder if is_deep else model.value_encoder
    names = [name for name in encoder.state_dict() if name.split(".")[0] not in ("fuser", "hidden_reinforce")]
    try:
        state = {name: source[name.replace("res2.", "layer1.")].clone() for name in names}
    except KeyError as error:
        raise InputError(f"No ResNet-50 or ResNet-18 weights ({error} is missing): choose another --init.") from error
    state["conv1.weight"] = with_mask_channels(state["conv1.weight"], encoder.state_dict()["conv1.weight"].shape[1])
    encoder.load_state_dict(state, strict=False)


def with_mask_channels(weight: Tensor, channels: int) -> Tensor:
    """A first convolution's weight [C_out, 3, k, k] with noise of the same spread for further input channels."""
    extra = channels - weight.shape[1]
    return torch.cat([weight, torch.randn(len(weight), extra, *weight.shape[2:]) * weight.std()], 1)


def load_lite0(model: XMem, source: dict[str, Tensor]) -> None:
    """Start both lite encoders from a state dict of EfficientNet-lite0; mask channels start as small noise.

    Raises InputError where it is not one.
    """
    for encoder in (model.key_encoder, model.value_encoder):
        names = [name for name in encoder.state_dict() if name.startswith(("stem.", "blocks."))]
        try:
            state = encoder_state(source, names)
        except KeyError as error:
            raise InputError(f"No EfficientNet-lite0 weights ({error} is missing): choose another --init.") from error
        state["stem.0.weight"] = with_mask_channels(
            state["stem.0.weight"], encoder.state_dict()["stem.0.weight"].shape[1]
        )
        encoder.load_state_dict(state, strict=False)


def soften_reading(model: XMem) -> None:
    """Scale the projections of key, shrinkage and selection down, in place, so that reading can be learned again.

    Where they have grown too large, a query reads a single element and the softmax passes no gradient: the first run of
    xmem-lite ended with a median shrinkage of 900 and keys of norm 44. The factors below brought these to about 2 and 7
    and left its held-back scores as they were.
    """
    for projection, factor in (
        (model.key_proj.key_proj, 0.15),
        (model.key_proj.d_proj, 0.03),
        (model.key_proj.e_proj, 0.3),
    ):
        for parameter in projection.parameters():
            parameter.data.mul_(factor)
