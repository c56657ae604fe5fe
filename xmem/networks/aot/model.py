"""The assembled network, and how weights become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmem.networks import Network
from xmem.networks.aot.decoder import Decoder, ImagePart
from xmem.networks.aot.encoder import F16, ResNetEncoder
from xmem.networks.aot.transformer import Layer, LayerMemory, LayerTrace, LongShortTermTransformer, to_grid, to_rows
from xmem.networks.weights import named_tensors, network_of
from xmem.pieces import WHOLE, Pieces

CHANNELS = 256  # C, of the embedding
LAYERS = 3
IDENTITIES = 10  # objects that go through the network together, the background not counted
STRIDE = 16


class Features(NamedTuple):
    """What the encoder makes of a frame: the embedding, as rows [HW, C] of the grid (h, w), and the decoder's part."""

    embedding: Tensor
    grid: tuple[int, int]
    image_part: ImagePart


class AOT(Network):
    """The networks of R50-AOTL, without state between frames. All objects, up to ten, go through them together.

    Images have height and width of 16 n + 1, and h = (H - 1) / 16 + 1, w = (W - 1) / 16 + 1.
    """

    def __init__(self):
        super().__init__()
        self.encoder = ResNetEncoder()
        self.encoder_projector = nn.Conv2d(F16, CHANNELS, 1)
        self.LSTT = LongShortTermTransformer(CHANNELS, LAYERS)
        self.decoder = Decoder((1 + LAYERS) * CHANNELS, CHANNELS, 1 + IDENTITIES)
        self.patch_wise_id_bank = nn.Conv2d(1 + IDENTITIES, CHANNELS, STRIDE + 1, STRIDE, STRIDE // 2)

    def encode(self, image: Tensor) -> Features:
        """Once per frame, whatever the number of objects: image [1, 3, H, W], normalised."""
        f16, f8, f4 = self.encoder(image)
        embedding = self.encoder_projector(f16)
        return Features(to_rows(embedding), tuple(embedding.shape[-2:]), self.decoder.image_part(f16, f8, f4))

    def identity(self, labels: Tensor) -> Tensor:
        """The code of who is where: labels [H, W], 0 = background, at the image's size -> [HW, C]."""
        one_hot = F.one_hot(labels.long(), 1 + IDENTITIES)[None].permute(0, 3, 1, 2)  # [1, 11, H, W]
        return to_rows(self.patch_wise_id_bank(one_hot.to(self.dtype)))

    def propagate(
        self, features: Features, memory: Sequence[LayerMemory], pieces: Pieces = WHOLE
    ) -> tuple[Tensor, list[LayerTrace]]:
        """A frame, from each layer's memory: logits [1, 11, (H - 1) / 4 + 1, (W - 1) / 4 + 1], and what each layer
        leaves, which `remembered` makes memory of once the objects' places are known."""
        outputs, traces = self.LSTT(features.embedding, features.grid, memory, None, pieces)
        z = to_grid(torch.cat([features.embedding, *outputs], 1), features.grid)
        return self.decoder(features.image_part, z), traces

    def refer(self, features: Features, identity: Tensor, pieces: Pieces = WHOLE) -> list[LayerTrace]:
        """A frame whose objects are given, which attends to itself: identity [HW, C] -> what each layer leaves."""
        return self.LSTT(features.embedding, features.grid, None, identity, pieces)[1]

    def remembered(self, traces: Sequence[LayerTrace], identity: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values [HW, C] of each layer, of a frame with these identities [HW, C]."""
        layers = zip(self.LSTT.layers, traces, strict=True)
        return [(trace.key, cast(Layer, layer).value(trace.content, identity)) for layer, trace in layers]


def load_state(state: Mapping[str, Tensor | np.ndarray]) -> AOT:
    """A network in evaluation mode, float32, on the CPU, from weights whose names, shapes and values are checked.

    Counters of batches, which other kinds of batch norm keep, are passed over. Raises InputError where the weights are
    not a complete, finite R50-AOTL.
    """
    tensors = {name: value for name, value in named_tensors(state).items() if not name.endswith("num_batches_tracked")}
    return network_of(AOT, tensors, "R50-AOTL")
