"""Layers that several networks share. Of torchvision, which takes as long to import as all else together, they have
what a network needs once it is built, and no sooner."""

from __future__ import annotations

from typing import Any

from torch import nn


class ConvNormActivation(nn.Sequential):
    """Convolution (0) that keeps the size but for its stride, batch norm (1) and, where it `activates`, activation (2).

    eps, activation: of all layers of a class.
    """

    eps = 1e-5
    activation: type[nn.ReLU | nn.ReLU6] = nn.ReLU

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        activates: bool = True,
    ):
        padding = (kernel - 1) // 2 * dilation
        convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, groups, bias=False)
        after = [self.activation(inplace=True)] if activates else []
        super().__init__(convolution, nn.BatchNorm2d(out_channels, self.eps), *after)


def resnet(name: str, **options: Any) -> Any:
    """torchvision's ResNet of that name ("resnet18", "resnet50"), without weights."""
    from torchvision.models import get_model

    return get_model(name, weights=None, **options)
