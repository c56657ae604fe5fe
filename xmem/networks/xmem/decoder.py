"""Key projection and mask decoder (XMem, sections 3.1, 3.3 and 3.4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmem.networks.xmem.blocks import Fuser, ResidualBlock, SensoryGates, conv3x3, per_object
from xmem.networks.xmem.encoders import FEATURE_CHANNELS
from xmem.networks.xmem.sizes import ModelSizes

ImagePart = tuple[Tensor, Tensor, Tensor, Tensor]  # of the fuser's two first convolutions, and the skips of stride 8, 4


class KeyProjection(nn.Module):
    """Stride-16 features -> key, shrinkage and selection."""

    def __init__(self, in_channels: int, key_channels: int):
        super().__init__()
        self.key_proj = conv3x3(in_channels, key_channels)
        self.d_proj = conv3x3(in_channels, 1)
        self.e_proj = conv3x3(in_channels, key_channels)
        nn.init.orthogonal_(self.key_proj.weight)
        assert self.key_proj.bias is not None
        nn.init.zeros_(self.key_proj.bias)

    def forward(self, f16: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """f16 [B, C_f, h, w] -> key [B, C_k, h, w], shrinkage float32 [B, 1, h, w] >= 1, selection [B, C_k, h, w] in
        (0, 1). A square above 65,504 would overflow float16."""
        return self.key_proj(f16), self.d_proj(f16).float() ** 2 + 1, torch.sigmoid(self.e_proj(f16))


class UpsampleBlock(nn.Module):
    """Doubles the resolution of object features and adds the image's at that stride."""

    def __init__(self, skip_channels: int, in_channels: int, out_channels: int, shortcut_kernel: int):
        super().__init__()
        self.skip_conv = conv3x3(skip_channels, in_channels)
        self.out_conv = ResidualBlock(in_channels, out_channels, shortcut_kernel)

    def forward(self, skip: Tensor, g: Tensor) -> Tensor:
        """skip: the image's features after `skip_conv`, [B, C_in, 2h, 2w]; g [B, O, C_in, h, w]
        -> [B, O, C_out, 2h, 2w]."""
        return per_object(self.out_conv, doubled(g, skip) + skip[:, None])


def doubled(g: Tensor, skip: Tensor) -> Tensor:
    """Object features [B, O, C, h, w] at the size of `skip`, [..., 2h, 2w]."""
    size = skip.shape[-2:]
    return per_object(lambda x: F.interpolate(x, size=size, mode="bilinear", align_corners=False), g)


class SensoryUpdate(SensoryGates):
    """The decoder's update of the sensory memory, from its features at three strides."""

    def __init__(self, decoder_channels: tuple[int, int, int], update_channels: int, sensory_channels: int):
        super().__init__(update_channels, sensory_channels)
        width16, width8, width4 = decoder_channels
        self.g16_conv = nn.Conv2d(width16, update_channels, 1)
        self.g8_conv = nn.Conv2d(width8, update_channels, 1)
        self.g4_conv = nn.Conv2d(width4 + 1, update_channels, 1)

    def forward(self, g16: Tensor, g8: Tensor, g4: Tensor, logits: Tensor, sensory: Tensor) -> Tensor:
        """g16 [B, O, C, h, w], g8 at twice, g4 and logits at four times its size; sensory [B, O, C_h, h, w]."""
        x = per_object(self.g16_conv, g16)
        x = x + per_object(lambda g: self.g8_conv(F.avg_pool2d(g, 2)), g8)
        # joined once they are small: a sixteenth of the copying
        g4 = torch.cat([per_object(lambda g: F.avg_pool2d(g, 4), part) for part in (g4, logits)], 2)
        x = x + per_object(self.g4_conv, g4)
        return self.updated(x, sensory)


class Decoder(nn.Module):
    """Memory readout and sensory memory -> mask logits of each object."""

    def __init__(self, sizes: ModelSizes):
        super().__init__()
        f16, f8, f4 = FEATURE_CHANNELS[sizes.encoder]
        width16, width8, width4 = sizes.decoder_channels
        kernel = sizes.shortcut_kernel
        self.fuser = Fuser(f16, sizes.value_channels + sizes.sensory_channels, width16, kernel)
        self.hidden_update = None
        if sizes.sensory_channels:
            self.hidden_update = SensoryUpdate(sizes.decoder_channels, sizes.update_channels, sizes.sensory_channels)
        self.up_16_8 = UpsampleBlock(f8, width16, width8, kernel)
        self.up_8_4 = UpsampleBlock(f4, width8, width4, kernel)
        self.pred = conv3x3(width4, 1)

    def image_part(self, features: tuple[Tensor, Tensor, Tensor]) -> ImagePart:
        """What the image has in the decoder, once for all objects: features f16, f8, f4 -> what `forward` takes."""
        f16, f8, f4 = features
        return *self.fuser.block1.shared_half(f16), self.up_16_8.skip_conv(f8), self.up_8_4.skip_conv(f4)

    def forward(
        self, image: ImagePart, readout: Tensor, sensory: Tensor, update_sensory: bool
    ) -> tuple[Tensor, Tensor]:
        """image: `image_part` of its features; readout [B, O, C_v, h, w]; sensory [B, O, C_h, h, w]
        -> logits [B, O, 16 h, 16 w], sensory memory (updated if asked for)."""
        *shared, skip8, skip4 = image
        g16 = self.fuser(shared, torch.cat([readout, sensory], 2))
        g8 = self.up_16_8(skip8, g16)
        g4 = self.up_8_4(skip4, g8)
        logits = per_object(lambda g: self.pred(F.relu(g)), g4)  # [B, O, 1, 4 h, 4 w]
        if update_sensory and self.hidden_update is not None:
            sensory = self.hidden_update(g16, g8, g4, logits, sensory)
        logits = F.interpolate(logits[:, :, 0], scale_factor=4, mode="bilinear", align_corners=False)
        return logits, sensory


def aggregate(prob: Tensor) -> Tensor:
    """Soft aggregation: independent object probabilities [B, O, H, W] -> log-odds [B, O + 1, H, W], background first.

    Always in float32: 1 - 1e-7 has no neighbour below one in half precision. Softmax over the channels gives the
    probabilities (Oh et al., STM, section 3.4).
    """
    return torch.log(_odds(prob))


def soft_aggregate(prob: Tensor) -> Tensor:
    """softmax(aggregate(prob)) over the channels, [B, O, H, W] -> [B, O + 1, H, W], within 1e-6: odds over their sum,
    by neither logarithm nor exponential, which on a CPU takes less than half of the time."""
    odds = _odds(prob)
    return odds / odds.sum(1, keepdim=True)


def _odds(prob: Tensor) -> Tensor:
    """p / (1 - p) of background and objects, float32."""
    prob = prob.float()
    prob = torch.cat([(1 - prob).prod(1, keepdim=True), prob], 1).clamp_(1e-7, 1 - 1e-7)
    return prob / (1 - prob)
