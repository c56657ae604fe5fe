"""ResNet-50 to stride 16, with batch norms that never learned from what AOT saw."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from xmem.networks.layers import resnet

F16, F8, F4 = 1024, 512, 256  # channels


class FrozenBatchNorm(nn.BatchNorm2d):
    """A batch norm that keeps no count of batches, in whose weights there is therefore none."""

    def __init__(self, channels: int):
        super().__init__(channels)
        self.num_batches_tracked = None

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, metadata: dict[str, Any], *rest: Any
    ) -> None:
        """As the version of torch's layout that has a count: for older ones, torch would add it."""
        super()._load_from_state_dict(state_dict, prefix, {**metadata, "version": 2}, *rest)


class ResNetEncoder(nn.Module):
    """ResNet-50 without its last stage and head: image [1, 3, H, W] -> f16 (1024 channels), f8 (512), f4 (256)."""

    def __init__(self):
        super().__init__()
        network = resnet("resnet50", norm_layer=FrozenBatchNorm)
        self.conv1, self.bn1, self.relu, self.maxpool = network.conv1, network.bn1, network.relu, network.maxpool
        self.layer1, self.layer2, self.layer3 = network.layer1, network.layer2, network.layer3

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        f4 = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(image)))))
        f8 = self.layer2(f4)
        return self.layer3(f8), f8, f4
