"""The assembled network of STCN, and how released weights become one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from xmem.networks import Network
from xmem.networks.stcn.decoder import THIN_CHANNELS, Decoder, ImagePart
from xmem.networks.stcn.encoders import F16, KEY_CHANNELS, OBJECT_CHANNELS, VALUE_CHANNELS, ValueEncoder
from xmem.networks.weights import named_tensors, network_of
from xmem.networks.xmem.blocks import ResidualBlock, conv3x3
from xmem.networks.xmem.encoders import ResNetKeyEncoder
from xmem.pieces import WHOLE, Pieces

STEM = "value_encoder.conv1.weight"
# Released weights take an object's own channels before the image's, our blocks after them: how many they are.
OWN_FIRST = {"value_encoder.fuser.block1": OBJECT_CHANNELS, "decoder.compress": VALUE_CHANNELS}


class KeyProjection(nn.Module):
    """Stride-16 features -> key. A module of its own only for the name that released weights use."""

    def __init__(self):
        super().__init__()
        self.key_proj = conv3x3(F16, KEY_CHANNELS)

    def forward(self, f16: Tensor) -> Tensor:
        """f16 [B, 1024, h, w] -> key [B, C_k, h, w]."""
        return self.key_proj(f16)


class STCN(Network):
    """The networks of STCN, without state between frames; B clips, O objects, h = H / 16, w = W / 16."""

    def __init__(self):
        super().__init__()
        self.key_encoder = ResNetKeyEncoder()
        self.key_proj = KeyProjection()
        self.key_comp = conv3x3(F16, THIN_CHANNELS)
        self.value_encoder = ValueEncoder()
        self.decoder = Decoder()

    def encode_key(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Once per frame, whatever the number of objects.

        image [B, 3, H, W], normalised, H and W multiples of 16 -> key [B, C_k, h, w], features (f16, f8, f4).
        """
        features = self.key_encoder(image)
        return self.key_proj(features[0]), features

    def image_part(self, features: tuple[Tensor, Tensor, Tensor]) -> ImagePart:
        """What the image has in the decoder, once for all objects: features (f16, f8, f4) -> what `decode` takes."""
        f16, f8, f4 = features
        return self.decoder.image_part(self.key_comp(f16), f8, f4)

    def encode_value(self, image: Tensor, f16: Tensor, masks: Tensor, pieces: Pieces = WHOLE) -> Tensor:
        """On memory frames: image [B, 3, H, W], masks [B, O, H, W] in [0, 1] -> values [B, O, C_v, h, w]."""
        others = masks.sum(1, keepdim=True) - masks
        shared = self.value_encoder.fuser.block1.shared_half(f16)
        parts = pieces.of_objects(masks.shape[1])
        return torch.cat([self.value_encoder(image, shared, masks[:, p], others[:, p]) for p in parts], 1)

    def decode(self, image: ImagePart, readout: Tensor, pieces: Pieces = WHOLE) -> Tensor:
        """image: `image_part` of its features; readout [B, O, C_v, h, w] -> object logits [B, O, H, W]."""
        return torch.cat([self.decoder(image, readout[:, p]) for p in pieces.of_objects(readout.shape[1])], 1)


def load_state(state: Mapping[str, Tensor | np.ndarray]) -> STCN:
    """A network in evaluation mode, float32, on the CPU, from released weights: names, shapes and values are checked.

    A value encoder of 4 input channels (trained on still images, for one object) gets a zero channel for the others.
    Raises InputError where the weights are not a complete, finite STCN network.
    """
    tensors = named_tensors(state)
    stem = tensors.get(STEM)
    if stem is not None and stem.dim() == 4 and stem.shape[1] == 4:
        tensors[STEM] = torch.cat([stem, torch.zeros_like(stem[:, :1])], 1)
    network = network_of(STCN, tensors, "STCN")
    for name, own in OWN_FIRST.items():
        block = network.get_submodule(name)
        assert isinstance(block, ResidualBlock) and block.downsample is not None
        for conv in (block.conv1, block.downsample):
            conv.weight.data = torch.roll(conv.weight.data, -own, 1)  # the image's channels first
    return network
