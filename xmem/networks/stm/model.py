"""The assembled network of STM, and how released weights become one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from xmem.networks.stm.decoder import Decoder, ImagePart
from xmem.networks.stm.encoders import IMAGE_CHANNELS, MASK_CHANNELS, VALUE_CHANNELS, Encoder, KeyValue
from xmem.networks.weights import check_weights, named_tensors, with_weights

STEM = "Encoder_M.conv1.weight"
MASK_STEMS = ("Encoder_M.conv1_m.weight", "Encoder_M.conv1_o.weight")  # of the object's mask, of the others'


class STM(nn.Module):
    """The networks of STM, without state between frames; O objects, h = H / 16, w = W / 16.

    objects_at_once: objects whose masks are encoded or decoded together, None for all: fewer take less memory, and on a
    GPU more time.
    """

    objects_at_once: int | None = None

    def __init__(self):
        super().__init__()
        self.Encoder_M = Encoder(MASK_CHANNELS)
        self.Encoder_Q = Encoder()
        self.KV_M_r4 = KeyValue()
        self.KV_Q_r4 = KeyValue()
        self.Decoder = Decoder()

    @property
    def device(self) -> torch.device:
        return self.Decoder.pred2.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.Decoder.pred2.weight.dtype

    def encode_query(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Once per frame, whatever the number of objects.

        image [1, 3, H, W] in [0, 1], padded with zeros, H and W multiples of 16
        -> key [1, C_k, h, w], features (value [1, C_v, h, w], r3, r2).
        """
        r4, r3, r2 = self.Encoder_Q(image)
        key, value = self.KV_Q_r4(r4)
        return key, (value, r3, r2)

    def image_part(self, features: tuple[Tensor, Tensor, Tensor]) -> ImagePart:
        """What the image has in the decoder, once for all objects: `encode_query`'s features -> what `decode` takes."""
        return self.Decoder.image_part(*features)

    def encode_memory(self, image: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """On memory frames: image [1, 3, H, W] in [0, 1], masks [1, O, H, W] in [0, 1]
        -> keys [1, O, C_k, h, w], values [1, O, C_v, h, w]: each object has keys of its own."""
        others = (masks.sum(1, keepdim=True) - masks).clamp(0, 1)
        pairs = torch.stack([masks[0], others[0]], 1)  # [O, 2, H, W]
        parts = [self.KV_M_r4(self.Encoder_M(image, pairs[part])[0]) for part in self._parts(len(pairs))]
        keys, values = (torch.cat(part)[None] for part in zip(*parts, strict=True))
        return keys, values

    def decode(self, image: ImagePart, readout: Tensor) -> Tensor:
        """image: `image_part` of its features; readout [1, O, C_v, h, w] -> object logits [1, O, H, W]."""
        return torch.cat([self.Decoder(image, readout[:, part]) for part in self._parts(readout.shape[1])], 1)

    def _parts(self, objects: int) -> list[slice]:
        """`objects_at_once` of so many objects, or all."""
        most = self.objects_at_once or objects
        return [slice(start, start + most) for start in range(0, objects, most)]


def load_state(state: Mapping[str, Tensor | np.ndarray]) -> STM:
    """A network in evaluation mode, float32, on the CPU, from released weights: names, shapes and values are checked.

    The memory encoder's stem becomes one convolution of image and masks, so that the batch norm behind the sum of the
    released three can be folded into it; the decoder's first takes the image's channels before the object's.
    Raises InputError where the weights are not a complete, finite STM network.
    """
    with torch.device("meta"):
        network = STM()
    expected = network.state_dict()
    stems = expected[STEM].split((IMAGE_CHANNELS, *(1 for _ in MASK_STEMS)), 1)
    expected.update(zip((STEM, *MASK_STEMS), stems, strict=True))
    tensors = named_tensors(state)
    check_weights(tensors, expected, "STM")
    tensors[STEM] = torch.cat([tensors.pop(name) for name in (STEM, *MASK_STEMS)], 1)
    with_weights(network, tensors)
    first = network.Decoder.convFM
    first.weight.data = torch.roll(first.weight.data, -VALUE_CHANNELS, 1)
    return network
