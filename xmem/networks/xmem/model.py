"""The assembled network, and how weights become one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from xmem.networks.network import Network
from xmem.networks.weights import named_tensors, network_of
from xmem.networks.xmem.decoder import Decoder, ImagePart, KeyProjection
from xmem.networks.xmem.encoders import FEATURE_CHANNELS, KEY_ENCODERS, ValueEncoder
from xmem.networks.xmem.sizes import ModelSizes
from xmem.pieces import WHOLE, Pieces


class XMem(Network):
    """The networks of XMem, without state between frames; B clips, O objects, h = H / 16, w = W / 16."""

    def __init__(self, sizes: ModelSizes):
        super().__init__()
        self.sizes = sizes
        self.key_encoder = KEY_ENCODERS[sizes.encoder]()
        self.key_proj = KeyProjection(FEATURE_CHANNELS[sizes.encoder][0], sizes.key_channels)
        self.value_encoder = ValueEncoder(sizes)
        self.decoder = Decoder(sizes)

    @property
    def variant(self) -> str:
        """The kind of its encoders, "resnet" or "lite", as `ModelSizes.encoder` says it."""
        return self.sizes.encoder

    @property
    def is_small(self) -> bool:
        return self.sizes.encoder == "lite"

    def encode_key(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Once per frame, whatever the number of objects (XMem, section 3.1).

        image [B, 3, H, W], normalised, H and W multiples of 16
        -> key [B, C_k, h, w], shrinkage [B, 1, h, w], selection [B, C_k, h, w], features (f16, f8, f4).
        """
        features = self.key_encoder(image)
        return *self.key_proj(features[0]), features

    def encode_value(
        self,
        image: Tensor,
        f16: Tensor,
        masks: Tensor,
        sensory: Tensor,
        deep_update: bool,
        pieces: Pieces = WHOLE,
    ) -> tuple[Tensor, Tensor]:
        """On memory frames (sections 3.2 and 3.4): masks [B, O, H, W] in [0, 1], sensory [B, O, C_h, h, w]
        -> values [B, O, C_v, h, w], sensory memory."""
        others = masks.sum(1, keepdim=True) - masks
        shared = self.value_encoder.fuser.block1.shared_half(f16)

        def encode(part: slice) -> tuple[Tensor, Tensor]:
            own = masks[:, part], others[:, part], sensory[:, part]
            return self.value_encoder(image, shared, *own, deep_update)

        return self._in_parts(encode, masks.shape[1], pieces)

    def decode(
        self,
        features: tuple[Tensor, Tensor, Tensor],
        readout: Tensor,
        sensory: Tensor,
        update_sensory: bool,
        image_part: ImagePart | None = None,
        pieces: Pieces = WHOLE,
    ) -> tuple[Tensor, Tensor]:
        """readout [B, O, C_v, h, w], sensory [B, O, C_h, h, w] -> object logits [B, O, H, W], sensory memory.

        image_part: `decoder.image_part(features)`, where it is there already."""
        image = image_part or self.decoder.image_part(features)

        def decode(part: slice) -> tuple[Tensor, Tensor]:
            return self.decoder(image, readout[:, part], sensory[:, part], update_sensory)

        return self._in_parts(decode, readout.shape[1], pieces)

    def _in_parts(
        self, function: Callable[[slice], tuple[Tensor, Tensor]], objects: int, pieces: Pieces
    ) -> tuple[Tensor, Tensor]:
        """The results of `function` for some objects at a time, one each where threads share them, joined along their
        axis."""
        most = 1 if pieces.sharing else pieces.objects or objects
        if objects <= most:
            return function(slice(None))
        slices = [slice(start, start + most) for start in range(0, objects, most)]
        parts = pieces.make(lambda i, _: function(slices[i]), len(slices))
        first, second = (torch.cat(part, 1) for part in zip(*parts, strict=True))
        return first, second

    def initial_sensory(self, batch: int, objects: int, height: int, width: int) -> Tensor:
        """A sensory memory of zeros, [B, O, C_h, h, w]."""
        shape = (batch, objects, self.sizes.sensory_channels, height, width)
        return torch.zeros(shape, device=self.device, dtype=self.dtype)


def load_state(state: Mapping[str, Tensor | np.ndarray]) -> XMem:
    """A network in evaluation mode, float32, on the CPU, from weights whose names, shapes and values are checked.

    A value encoder of 4 input channels (trained for one object) gets a zero channel for the other objects.
    Raises InputError where the weights are not a complete, finite XMem network.
    """
    tensors = named_tensors(state)
    sizes = ModelSizes.of(tensors)
    stem = "value_encoder.conv1.weight" if sizes.encoder == "resnet" else "value_encoder.stem.0.weight"
    if stem in tensors and tensors[stem].dim() == 4 and tensors[stem].shape[1] == 4:
        zero = torch.zeros_like(tensors[stem][:, :1])
        tensors[stem] = torch.cat([tensors[stem], zero], 1)
    return network_of(partial(XMem, sizes), tensors, "XMem")
