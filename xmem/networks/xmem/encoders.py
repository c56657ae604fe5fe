"""Key and value encoders: torchvision's ResNets for the released models, EfficientNet-lite0 for xmem-lite."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xmem.networks.layers import ConvNormActivation, resnet
from xmem.networks.xmem.blocks import Fuser, SensoryGRU, per_object
from xmem.networks.xmem.sizes import ModelSizes

# kernel, stride, expansion, output channels, repeats (EfficientNet-lite0, Tan and Le 2019, to stride 16)
LITE_STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3))
LITE_VALUE_BLOCKS = 7  # the value encoder stops two blocks into stride 16
IMAGE_CHANNELS = 3
MASK_CHANNELS = 2  # this object's mask, the sum of the others'

FEATURE_CHANNELS = {"resnet": (1024, 512, 256), "lite": (112, 40, 24)}  # f16, f8, f4


class ResNetKeyEncoder(nn.Module):
    """A ResNet without its last stage and head: image -> f16 (ResNet-50: 1024 channels), f8 (512), f4 (256)."""

    def __init__(self, name: str = "resnet50"):
        super().__init__()
        network = resnet(name)
        self.conv1, self.bn1, self.relu, self.maxpool = network.conv1, network.bn1, network.relu, network.maxpool
        self.res2, self.layer2, self.layer3 = network.layer1, network.layer2, network.layer3

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        f4 = self.res2(self.maxpool(self.relu(self.bn1(self.conv1(image)))))
        f8 = self.layer2(f4)
        return self.layer3(f8), f8, f4


class LiteLayer(ConvNormActivation):
    """A layer of EfficientNet-lite."""

    eps, activation = 1e-3, nn.ReLU6


class LiteBlock(nn.Module):
    """Inverted residual of EfficientNet-lite: expand, depthwise, project; no squeeze-and-excitation, ReLU6."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        width = in_channels * expansion
        self.expand = LiteLayer(in_channels, width, 1) if expansion > 1 else nn.Identity()
        self.depthwise = LiteLayer(width, width, kernel, stride, groups=width)
        self.project = LiteLayer(width, out_channels, 1, activates=False)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C_in, h, w] -> [N, C_out, h / stride, w / stride]."""
        out = self.project(self.depthwise(self.expand(x)))
        return out + x if self.residual else out


def lite_blocks() -> tuple[nn.ModuleList, list[int]]:
    """EfficientNet-lite0's blocks to stride 16, and the last block of each stage."""
    blocks, ends, channels = nn.ModuleList(), [], 32
    for kernel, stride, expansion, out_channels, repeats in LITE_STAGES:
        for i in range(repeats):
            blocks.append(LiteBlock(channels, out_channels, kernel, stride if i == 0 else 1, expansion))
            channels = out_channels
        ends.append(len(blocks) - 1)
    return blocks, ends


def lite_stem(in_channels: int) -> LiteLayer:
    return LiteLayer(in_channels, 32, 3, 2)


class LiteKeyEncoder(nn.Module):
    """EfficientNet-lite0 to stride 16: image -> f16 (112 channels), f8 (40), f4 (24)."""

    def __init__(self):
        super().__init__()
        self.stem = lite_stem(IMAGE_CHANNELS)
        self.blocks, ends = lite_blocks()
        self.f4_end, self.f8_end = ends[1], ends[2]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, kept = self.stem(image), {}
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in (self.f4_end, self.f8_end):
                kept[i] = x
        return x, kept[self.f8_end], kept[self.f4_end]


def resnet_trunk() -> tuple[dict[str, nn.Module], int]:
    """ResNet-18 without its last stage and head, on image and masks; 256 channels at stride 16."""
    network = resnet("resnet18")
    conv1 = nn.Conv2d(IMAGE_CHANNELS + MASK_CHANNELS, 64, 7, stride=2, padding=3, bias=False)
    kept = {name: getattr(network, name) for name in ("bn1", "relu", "maxpool", "layer1", "layer2", "layer3")}
    return {"conv1": conv1, **kept}, 256


def lite_trunk() -> tuple[dict[str, nn.Module], int]:
    """The first blocks of EfficientNet-lite0 on image and masks; 80 channels at stride 16."""
    blocks = lite_blocks()[0][:LITE_VALUE_BLOCKS]
    return {"stem": lite_stem(IMAGE_CHANNELS + MASK_CHANNELS), "blocks": nn.Sequential(*blocks)}, 80


class MaskTrunk(nn.Module):
    """Object masks on an image -> features. The layers stand directly in this module, because released weights name
    them so."""

    def __init__(self, layers: dict[str, nn.Module]):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.trunk_names = tuple(layers)

    def trunk(self, image: Tensor, masks: Tensor, others: Tensor) -> Tensor:
        """image [B, 3, H, W]; masks of objects and of all others [B, O, H, W] -> [B, O, C, H / 16, W / 16]."""
        images = image[:, None].expand(-1, masks.shape[1], -1, -1, -1)
        x = torch.cat([images, masks[:, :, None], others[:, :, None]], 2)  # [B, O, 5, H, W]
        return per_object(self._layers, x)

    def _layers(self, x: Tensor) -> Tensor:
        for name in self.trunk_names:
            x = getattr(self, name)(x)
        return x


class ValueEncoder(MaskTrunk):
    """Object masks on an image -> memory values, and the sensory memory's deep update (XMem, sections 3.2 and 3.4)."""

    def __init__(self, sizes: ModelSizes):
        layers, channels = TRUNKS[sizes.encoder]()
        super().__init__(layers)
        f16 = FEATURE_CHANNELS[sizes.encoder][0]
        self.fuser = Fuser(f16, channels, sizes.value_channels, sizes.shortcut_kernel)
        self.hidden_reinforce = None
        if sizes.sensory_channels:
            self.hidden_reinforce = SensoryGRU(sizes.value_channels, sizes.sensory_channels)

    def forward(
        self,
        image: Tensor,
        shared: tuple[Tensor, Tensor],
        masks: Tensor,
        others: Tensor,
        sensory: Tensor,
        deep_update: bool,
    ) -> tuple[Tensor, Tensor]:
        """image [B, 3, H, W]; shared: `fuser.block1.shared_half` of f16; masks of objects and sums of all others'
        [B, O, H, W]; sensory [B, O, C_h, h, w]
        -> values [B, O, C_v, h, w], sensory memory (deeply updated if asked for)."""
        value = self.fuser(shared, self.trunk(image, masks, others))
        if deep_update and self.hidden_reinforce is not None:
            sensory = self.hidden_reinforce(value, sensory)
        return value, sensory


KEY_ENCODERS = {"resnet": ResNetKeyEncoder, "lite": LiteKeyEncoder}
TRUNKS = {"resnet": resnet_trunk, "lite": lite_trunk}
