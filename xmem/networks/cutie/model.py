"""The assembled network (Cutie, section 3), and how weights become one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmem.errors import InputError
from xmem.networks.cutie.blocks import FusionBlock, position_frequencies, sum_of_others
from xmem.networks.cutie.sizes import CutieSizes
from xmem.networks.cutie.transformer import ObjectSummarizer, ObjectTransformer
from xmem.networks.network import Network
from xmem.networks.weights import named_tensors, network_of
from xmem.networks.xmem.blocks import ResidualBlock, SensoryGRU, conv3x3, per_object
from xmem.networks.xmem.decoder import KeyProjection, SensoryUpdate, doubled
from xmem.networks.xmem.encoders import MaskTrunk, ResNetKeyEncoder, resnet_trunk
from xmem.pieces import WHOLE, Pieces

FEATURE_CHANNELS = {"resnet50": (1024, 512, 256), "resnet18": (256, 128, 64)}  # f16, f8, f4
CONSTANTS = ("object_transformer.spatial_pe.inv_freq", "object_summarizer.pos_enc.inv_freq")
TRAINING_ONLY = "aux_computer."


class Features(NamedTuple):
    """What the image encoder makes of a frame: projected features at stride 16, and those of strides 8 and 4."""

    pix: Tensor  # [B, C, h, w]
    f8: Tensor  # [B, C_8, 2 h, 2 w]
    f4: Tensor  # [B, C_4, 4 h, 4 w]


class PixelKeyProjection(KeyProjection):
    """Stride-16 features, projected once more -> key, shrinkage and selection."""

    def __init__(self, in_channels: int, sizes: CutieSizes):
        super().__init__(sizes.channels, sizes.key_channels)
        self.pix_feat_proj = nn.Conv2d(in_channels, sizes.channels, 1)

    def forward(self, f16: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """f16 [B, C_f, h, w] -> key [B, C_k, h, w], shrinkage float32 [B, 1, h, w], selection [B, C_k, h, w]."""
        return super().forward(self.pix_feat_proj(f16))


class MaskEncoder(MaskTrunk):
    """Object masks on an image -> memory values, and the sensory memory's deep update."""

    def __init__(self, sizes: CutieSizes):
        layers, channels = resnet_trunk()
        super().__init__(layers)
        self.fuser = FusionBlock(sizes.channels, channels)
        self.sensory_update = SensoryGRU(sizes.channels, sizes.channels)

    def forward(
        self, image: Tensor, shared: Tensor, masks: Tensor, others: Tensor, sensory: Tensor
    ) -> tuple[Tensor, Tensor]:
        """image [B, 3, H, W]; shared: `fuser.image_part`; masks and others' [B, O, H, W]; sensory [B, O, C, h, w]
        -> values and sensory memory, [B, O, C, h, w] each."""
        values = self.fuser(shared, self.trunk(image, masks, others))
        return values, self.sensory_update(values, sensory)


class PixelFuser(nn.Module):
    """What pixel memory has read, joined with the image, the sensory memory and the last masks."""

    def __init__(self, sizes: CutieSizes):
        super().__init__()
        self.fuser = FusionBlock(sizes.channels, sizes.channels)
        self.sensory_compress = nn.Conv2d(sizes.channels + 2, sizes.channels, 1)

    def forward(self, shared: Tensor, readout: Tensor, sensory: Tensor, masks: Tensor) -> Tensor:
        """shared: `fuser.image_part`; readout, sensory [B, O, C, h, w], masks of the last frame [B, O, h, w]
        -> [B, O, C, h, w]."""
        own = torch.stack([masks, sum_of_others(masks)], 2).to(sensory.dtype)
        return self.fuser(shared, readout + per_object(self.sensory_compress, torch.cat([sensory, own], 2)))


class Skips(nn.Module):
    """Image features at strides 8 and 4 -> those that the decoder adds."""

    def __init__(self, sizes: CutieSizes):
        super().__init__()
        pairs = zip(FEATURE_CHANNELS[sizes.encoder][1:], sizes.decoder_channels, strict=False)
        self.transforms = nn.ModuleList(nn.Conv2d(own, width, 1) for own, width in pairs)

    def forward(self, f8: Tensor, f4: Tensor) -> tuple[Tensor, Tensor]:
        return self.transforms[0](f8), self.transforms[1](f4)


class Upsample(nn.Module):
    """Holds a decoder step's residual block under the name that released weights use."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.out_conv = ResidualBlock(in_channels, out_channels, 1)

    def forward(self, skip: Tensor, g: Tensor) -> Tensor:
        """skip [B, C_in, 2h, 2w]; g [B, O, C_in, h, w] -> [B, O, C_out, 2h, 2w]."""
        return per_object(self.out_conv, doubled(g, skip) + skip[:, None])


class MaskDecoder(nn.Module):
    """Pixel features of each object -> its mask logits."""

    def __init__(self, sizes: CutieSizes):
        super().__init__()
        width16, width8, width4 = sizes.decoder_channels
        self.sensory_update = SensoryUpdate(sizes.decoder_channels, sizes.channels, sizes.channels)
        self.decoder_feat_proc = Skips(sizes)
        self.up_16_8 = Upsample(width16, width8)
        self.up_8_4 = Upsample(width8, width4)
        self.pred = conv3x3(width4, 1)

    def forward(
        self, skips: tuple[Tensor, Tensor], p16: Tensor, sensory: Tensor, update_sensory: bool
    ) -> tuple[Tensor, Tensor]:
        """skips: `decoder_feat_proc` of f8 and f4; p16, sensory [B, O, C, h, w]
        -> logits [B, O, 4 h, 4 w], sensory memory (updated if asked for)."""
        skip8, skip4 = skips
        p8 = self.up_16_8(skip8, p16)
        p4 = self.up_8_4(skip4, p8)
        logits = per_object(lambda g: self.pred(F.relu(g)), p4)  # [B, O, 1, 4 h, 4 w]
        if update_sensory:
            sensory = self.sensory_update(p16, p8, p4, logits, sensory)
        return logits[:, :, 0], sensory


class Cutie(Network):
    """The networks of Cutie, without state between frames; B clips, O objects, h = H / 16, w = W / 16."""

    def __init__(self, sizes: CutieSizes):
        super().__init__()
        self.sizes = sizes
        f16 = FEATURE_CHANNELS[sizes.encoder][0]
        self.pixel_encoder = ResNetKeyEncoder(sizes.encoder)
        self.pix_feat_proj = nn.Conv2d(f16, sizes.channels, 1)
        self.key_proj = PixelKeyProjection(f16, sizes)
        self.mask_encoder = MaskEncoder(sizes)
        self.object_summarizer = ObjectSummarizer(sizes)
        self.pixel_fuser = PixelFuser(sizes)
        self.object_transformer = ObjectTransformer(sizes)
        self.mask_decoder = MaskDecoder(sizes)

    @property
    def variant(self) -> str:
        """The kind of its image encoder, "resnet50" (base) or "resnet18" (small)."""
        return self.sizes.encoder

    def encode_image(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Features]:
        """Once per frame, whatever the number of objects.

        image [B, 3, H, W], normalised, H and W multiples of 16
        -> key [B, C_k, h, w], shrinkage [B, 1, h, w], selection [B, C_k, h, w], features.
        """
        f16, f8, f4 = self.pixel_encoder(image)
        return *self.key_proj(f16), Features(self.pix_feat_proj(f16), f8, f4)

    def encode_masks(
        self, image: Tensor, features: Features, masks: Tensor, sensory: Tensor, pieces: Pieces = WHOLE
    ) -> tuple[Tensor, Tensor, Tensor]:
        """On memory frames: masks [B, O, H, W] in [0, 1] of all objects, sensory [B, O, C, h, w]
        -> values [B, O, C, h, w], sensory memory after its deep update, summaries float32 [B, O, Q, C + 1]."""
        own, others = masks.to(image.dtype), sum_of_others(masks).to(image.dtype)
        shared = self.mask_encoder.fuser.image_part(features.pix)

        def encode(part: slice) -> tuple[Tensor, Tensor]:
            return self.mask_encoder(image, shared, own[:, part], others[:, part], sensory[:, part])

        values, sensory = self._in_parts(encode, masks.shape[1], pieces)
        return values, sensory, self.object_summarizer(values, masks)

    def transform(
        self, shared: Tensor, readout: Tensor, sensory: Tensor, last_masks: Tensor, summaries: Tensor
    ) -> Tensor:
        """The pixel memory's readout, through pixel fusion and object transformer (sections 3.2 and 3.3).

        For the objects of one bucket, which alone know of each other here. shared: `pixel_fuser.fuser.image_part` of
        the frame; readout, sensory [B, O, C, h, w]; last_masks [B, O, h, w]: the last frame's probabilities, averaged;
        summaries [B, O, Q, C + 1] -> [B, O, C, h, w].
        """
        fused = self.pixel_fuser(shared, readout, sensory, last_masks)
        return self.object_transformer(fused, summaries)[0]

    def decode(
        self, features: Features, p16: Tensor, sensory: Tensor, update_sensory: bool, pieces: Pieces = WHOLE
    ) -> tuple[Tensor, Tensor]:
        """p16: `transform` of all objects, sensory [B, O, C, h, w] -> logits at stride 4 [B, O, 4 h, 4 w], sensory
        memory."""
        skips = self.mask_decoder.decoder_feat_proc(features.f8, features.f4)

        def decode(part: slice) -> tuple[Tensor, Tensor]:
            return self.mask_decoder(skips, p16[:, part], sensory[:, part], update_sensory)

        return self._in_parts(decode, p16.shape[1], pieces)

    def _in_parts(
        self, function: Callable[[slice], tuple[Tensor, Tensor]], objects: int, pieces: Pieces
    ) -> tuple[Tensor, Tensor]:
        """The results of `function` for some objects at a time, joined along their axis."""
        most = pieces.objects or objects
        slices = [slice(start, start + most) for start in range(0, objects, most)]
        if len(slices) == 1:
            return function(slices[0])
        first, second = (torch.cat(part, 1) for part in zip(*map(function, slices), strict=True))
        return first, second

    def initial_sensory(self, batch: int, objects: int, height: int, width: int) -> Tensor:
        """A sensory memory of zeros, [B, O, C, h, w]."""
        shape = (batch, objects, self.sizes.channels, height, width)
        return torch.zeros(shape, device=self.device, dtype=self.dtype)


def load_state(state: Mapping[str, Tensor | np.ndarray]) -> Cutie:
    """A network in evaluation mode, float32, on the CPU, from weights whose names, shapes and values are checked.

    Weights that were trained for one object get a zero channel for the other objects. What serves training alone is
    left out. Raises InputError where the weights are not a complete, finite Cutie network.
    """
    tensors = {name: value for name, value in named_tensors(state).items() if not name.startswith(TRAINING_ONLY)}
    sizes = CutieSizes.of(tensors)
    _take_constants(tensors, sizes)
    _add_channel(tensors, "mask_encoder.conv1.weight", 4)
    _add_channel(tensors, "pixel_fuser.sensory_compress.weight", sizes.channels + 1)
    return network_of(partial(Cutie, sizes), tensors, "Cutie")


def _take_constants(tensors: dict[str, Tensor], sizes: CutieSizes) -> None:
    """Released weights hold the position code's frequencies, which are a formula: take them out, if they are those."""
    expected = position_frequencies(sizes.channels)
    for name in CONSTANTS:
        given = tensors.pop(name, expected)
        if given.shape != expected.shape or not torch.allclose(given.float(), expected, rtol=1e-2):
            raise InputError(f"These weights do not fit: '{name}' is not Cutie's position code; choose another file.")


def _add_channel(tensors: dict[str, Tensor], name: str, channels: int) -> None:
    """A zero input channel for the others' masks, where weights have just these input channels."""
    weight = tensors.get(name)
    if weight is not None and weight.dim() == 4 and weight.shape[1] == channels:
        tensors[name] = torch.cat([weight, torch.zeros_like(weight[:, :1])], 1)
