"""The assembled network of STM, and how released weights become one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from xmem.errors import InputError
from xmem.networks import Network
from xmem.networks.stm.decoder import Decoder, ImagePart
from xmem.networks.stm.encoders import IMAGE_CHANNELS, MASK_CHANNELS, VALUE_CHANNELS, Encoder, KeyValue
from xmem.networks.weights import check_weights, named_tensors, with_weights
from xmem.pieces import WHOLE, Pieces

STEM = "Encoder_M.conv1.weight"
NORMALISATION = {
    f"{encoder}.{name}": values
    for encoder in ("Encoder_M", "Encoder_Q")
    for name, values in {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}.items()  # of RGB in [0, 1]
}
MASK_STEMS = ("Encoder_M.conv1_m.weight", "Encoder_M.conv1_o.weight")  # of the object's mask, of the others'


class STM(Network):
    """The networks of STM, without state between frames; O objects, h = H / 16, w = W / 16."""

    def __init__(self):
        super().__init__()
        self.Encoder_M = Encoder(MASK_CHANNELS)
        self.Encoder_Q = Encoder()
        self.KV_M_r4 = KeyValue()
        self.KV_Q_r4 = KeyValue()
        self.Decoder = Decoder()

    def encode_query(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Once per frame, whatever the number of objects.

        image [1, 3, H, W], normalised, what was padded being black, H and W multiples of 16
        -> key [1, C_k, h, w], features (value [1, C_v, h, w], r3, r2).
        """
        r4, r3, r2 = self.Encoder_Q(image)
        key, value = self.KV_Q_r4(r4)
        return key, (value, r3, r2)

    def image_part(self, features: tuple[Tensor, Tensor, Tensor]) -> ImagePart:
        """What the image has in the decoder, once for all objects: `encode_query`'s features -> what `decode` takes."""
        return self.Decoder.image_part(*features)

    def encode_memory(self, image: Tensor, masks: Tensor, pieces: Pieces = WHOLE) -> tuple[Tensor, Tensor]:
        """On memory frames: image [1, 3, H, W], masks [1, O, H, W] in [0, 1]
        -> keys [1, O, C_k, h, w], values [1, O, C_v, h, w]: each object has keys of its own."""
        others = (masks.sum(1, keepdim=True) - masks).clamp(0, 1)
        pairs = torch.stack([masks[0], others[0]], 1)  # [O, 2, H, W]
        parts = [self.KV_M_r4(self.Encoder_M(image, pairs[part])[0]) for part in pieces.of_objects(len(pairs))]
        keys, values = (torch.cat(part)[None] for part in zip(*parts, strict=True))
        return keys, values

    def decode(self, image: ImagePart, readout: Tensor, pieces: Pieces = WHOLE) -> Tensor:
        """image: `image_part` of its features; readout [1, O, C_v, h, w] -> object logits [1, O, H, W]."""
        return torch.cat([self.Decoder(image, readout[:, p]) for p in pieces.of_objects(readout.shape[1])], 1)


def load_state(state: Mapping[str, Tensor | np.ndarray]) -> STM:
    """A network in evaluation mode, float32, on the CPU, from released weights: names, shapes and values are checked.

    The normalisation that each encoder's weights hold must be ImageNet's: images come normalised. The memory encoder's
    stem becomes one convolution of image and masks, so that the batch norm behind the sum of the released three can be
    folded into it; the decoder's first takes the image's channels before the object's.
    Raises InputError where the weights are not a complete, finite STM network.
    """
    with torch.device("meta"):
        network = STM()
    expected = network.state_dict()
    stems = expected[STEM].split((IMAGE_CHANNELS, *(1 for _ in MASK_STEMS)), 1)
    expected.update(zip((STEM, *MASK_STEMS), stems, strict=True))
    tensors = named_tensors(state)
    _take_normalisation(tensors)
    check_weights(tensors, expected, "STM")
    tensors[STEM] = torch.cat([tensors.pop(name) for name in (STEM, *MASK_STEMS)], 1)
    with_weights(network, tensors)
    first = network.Decoder.convFM
    first.weight.data = torch.roll(first.weight.data, -VALUE_CHANNELS, 1)
    return network


def _take_normalisation(tensors: dict[str, Tensor]) -> None:
    """Take out each encoder's mean and standard deviation. Raises InputError unless they are what images have had."""
    for name, expected in NORMALISATION.items():
        given = tensors.pop(name, None)
        wanted = torch.tensor(expected)
        if given is None or given.numel() != 3 or not torch.allclose(given.flatten().float(), wanted, atol=1e-3):
            raise InputError(f"These weights are not STM's: '{name}' is not {list(expected)}; choose another file.")
