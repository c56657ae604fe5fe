"""torchvision's blocks of ResNets, as `xmem.networks.cpu.residual` lets them compute."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from xmem.networks.cpu.packed import RELU
from xmem.networks.cpu.residual import convolutions


class FusedBottleneck(Bottleneck):
    """A block of ResNet-50 with its batch norms folded."""

    def forward(self, x: Tensor) -> Tensor:
        first, second, third = convolutions(self, 3)
        return third.then(second.then(first.then(x)), RELU, x if self.downsample is None else self.downsample(x))


class FusedBasicBlock(BasicBlock):
    """A block of ResNet-18 with its batch norms folded."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = convolutions(self, 2)
        return second.then(first.then(x), RELU, x if self.downsample is None else self.downsample(x))


FUSED: dict[type[nn.Module], type[nn.Module]] = {Bottleneck: FusedBottleneck, BasicBlock: FusedBasicBlock}
