"""3x3 convolutions by Winograd's minimal filtering, in plain matrix products (Lavin and Gray, 2016, F(4x4, 3x3)).

A tile of 4 x 4 outputs needs 36 products per pair of channels in place of 144. The transforms before and after are
written as matrix products, too (the Kronecker product of the one-dimensional transform with itself), a few tiles at a
time, so that what lies between input and output stays in the processor's cache.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property

import torch
from torch import Tensor, nn

from xmem.networks.xmem.blocks import JointConv2d

TILE, KERNEL = 4, 3
PATCH = TILE + KERNEL - 1  # a tile's inputs along an axis
# Interpolation points besides infinity. Rounding errors are 2.5 times smaller than with the usual 0, ±1, ±2
# (root mean square over random inputs of 1024 channels; 4 times those of a direct float32 convolution).
POINTS = (Fraction(0), Fraction(5, 8), Fraction(-5, 8), Fraction(3, 2), Fraction(-3, 2))
CHUNK_BYTES, CHUNK_TILES = 24 << 20, 448  # of transformed inputs at once

# How many times as fast as oneDNN's direct convolution, measured on two cores of an AMD EPYC (Zen 4), float32, by
# positions (height x width): a row for C_in, a column for C_out. 120 x 216 stops at what fits the measurement: its
# last figure is that of half the input channels, and so is every larger one's.
CHANNELS_IN, CHANNELS_OUT = (64, 128, 256, 512, 1024), (64, 128, 256, 512)
MEASURED = {
    15 * 27: (
        (0.69, 0.83, 1.04, 1.12),
        (0.88, 0.85, 1.02, 1.12),
        (0.89, 1.03, 1.20, 1.43),
        (0.92, 1.09, 1.34, 1.32),
        (0.93, 1.12, 1.91, 2.09),
    ),
    30 * 54: (
        (0.65, 0.64, 0.76, 0.86),
        (0.74, 0.76, 0.96, 1.19),
        (0.71, 0.91, 1.21, 1.46),
        (0.75, 1.08, 1.49, 1.75),
        (0.94, 1.43, 2.19, 2.69),
    ),
    60 * 108: (
        (0.77, 0.88, 1.21, 1.34),
        (0.90, 1.20, 1.54, 1.73),
        (1.03, 1.38, 1.80, 1.91),
        (0.85, 1.27, 1.81, 2.19),
        (1.02, 1.57, 2.39, 2.95),
    ),
    120 * 216: (
        (0.75, 0.92, 1.17, 1.32),
        (0.86, 1.14, 1.49, 1.69),
        (0.92, 1.32, 1.81, 2.05),
        (1.03, 1.49, 2.04, 2.05),
    ),
}
LEAST_GAIN = 1.1


def transforms(points: Sequence[Fraction] = POINTS) -> tuple[Tensor, Tensor, Tensor]:
    """The one-dimensional transforms A^T [4, 6] of products, G [6, 3] of kernels and B^T [6, 6] of inputs, float64.

    The correlation of an input d [6] with a kernel g [3] is A^T ((G g) * (B^T d)): Toom-Cook's interpolation through
    `points` and infinity, transposed.
    """
    products = [[point**i for point in points] + [Fraction(int(i == TILE - 1))] for i in range(TILE)]
    kernels, inputs = [], []
    for point in points:
        others = [other for other in points if other != point]
        scale = math.prod((point - other for other in others), start=Fraction(1))
        kernels.append([point**i / scale for i in range(KERNEL)])
        inputs.append([*_polynomial(others), Fraction(0)])
    kernels.append([Fraction(0)] * (KERNEL - 1) + [Fraction(1)])
    inputs.append(_polynomial(points))
    return tuple(
        torch.tensor([[float(x) for x in row] for row in rows], dtype=torch.float64)
        for rows in (products, kernels, inputs)
    )


def _polynomial(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients, lowest first, of the product of (x - root)."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *coefficients], [*(root * c for c in coefficients), Fraction(0)]
        coefficients = [a - b for a, b in zip(shifted, scaled, strict=True)]
    return coefficients


_PRODUCTS, _KERNELS, _INPUTS = transforms()
FROM_PRODUCTS = torch.kron(_PRODUCTS, _PRODUCTS).float()  # [16, 36]
TO_INPUTS = torch.kron(_INPUTS, _INPUTS).float()  # [36, 36]


def transform_kernels(weight: Tensor) -> Tensor:
    """Weights [C_out, C_in, 3, 3] -> [36, C_in, C_out]: four times their size."""
    kernels = torch.kron(_KERNELS, _KERNELS)  # [36, 9]
    return torch.einsum("pk,oik->pio", kernels, weight.detach().double().flatten(2)).float().contiguous()


def winograd_conv(x: Tensor, kernels: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolution of x, padded by 1: x [N, C_in, h, w], kernels [36, C_in, C_out] as transformed,
    bias [C_out] -> [N, C_out, h, w], channels-last."""
    out = x.new_empty((len(x), *x.shape[-2:], kernels.shape[2]))
    for image, place in zip(x.permute(0, 2, 3, 1), out, strict=True):
        _convolve(image, kernels, bias, place)
    return out.permute(0, 3, 1, 2)


def _convolve(image: Tensor, kernels: Tensor, bias: Tensor | None, out: Tensor) -> None:
    """image [h, w, C_in] -> out [h, w, C_out]."""
    height, width, channels = image.shape
    down, across = math.ceil(height / TILE), math.ceil(width / TILE)  # tiles
    padded = image.new_zeros((TILE * down + 2, TILE * across + 2, channels))
    padded[1 : height + 1, 1 : width + 1] = image
    row, column, _ = padded.stride()
    most = min(CHUNK_TILES, CHUNK_BYTES // (PATCH**2 * 4 * max(kernels.shape[1:])))
    step = max(1, most // across)
    for top in range(0, down, step):
        rows = min(step, down - top)
        shape, stride = (rows, across, PATCH, PATCH, channels), (TILE * row, TILE * column, row, column, 1)
        patches = padded.as_strided(shape, stride, TILE * top * row).reshape(rows * across, PATCH**2, channels)
        inputs = torch.matmul(TO_INPUTS, patches)  # [T, 36, C_in]
        products = torch.bmm(inputs.transpose(0, 1), kernels).transpose(0, 1)  # [T, 36, C_out]
        tiles = torch.matmul(FROM_PRODUCTS, products)  # [T, 16, C_out]
        _place(tiles.view(rows, across, TILE, TILE, -1).transpose(1, 2), bias, out[TILE * top :])


def _place(tiles: Tensor, bias: Tensor | None, out: Tensor) -> None:
    """tiles [rows, 4, across, 4, C] plus bias -> the top of out [h, w, C], cut off where they reach beyond it."""
    rows, width = min(len(tiles), out.shape[0] // TILE), out.shape[1]
    full = width // TILE
    if rows:
        band = out[: TILE * rows].unflatten(0, (rows, TILE))  # [rows, 4, w, C]
        _add(tiles[:rows, :, :full], bias, band[:, :, : TILE * full].unflatten(2, (full, TILE)))
        if width > TILE * full:
            _add(tiles[:rows, :, full, : width - TILE * full], bias, band[:, :, TILE * full :])
    if rows < len(tiles):  # the last row of tiles reaches below
        rest = out[TILE * rows :]
        _add(tiles[rows, : len(rest)].flatten(1, 2)[:, :width], bias, rest)


def _add(x: Tensor, bias: Tensor | None, out: Tensor) -> None:
    if bias is None:
        out.copy_(x)
    else:
        torch.add(x, bias, out=out)


def gain(in_channels: int, out_channels: int, positions: int) -> float:
    """Measured gain over a direct convolution, of the nearest smaller entry of the table; 0 for smaller ones."""
    row, column = bisect_right(CHANNELS_IN, in_channels) - 1, bisect_right(CHANNELS_OUT, out_channels) - 1
    sizes = [size for size in MEASURED if size <= positions]
    if not sizes or row < 0 or column < 0:
        return 0.0
    table = MEASURED[max(sizes)]
    return table[min(row, len(table) - 1)][column]


class WinogradConv2d(JointConv2d):
    """A 3x3 convolution, stride 1, padding 1, for inference: Winograd's way where that was measured faster.

    That is on a CPU, in float32, for the layers and sizes of `gain`; everything else goes the direct way. Transformed
    weights are kept from their first use on: four times the weights' memory.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C_in, h, w] -> [N, C_out, h, w]."""
        return self.of_channels(x, slice(None), self.bias)

    def of_channels(self, x: Tensor, channels: slice, bias: Tensor | None) -> Tensor:
        """The convolution of some input channels, which are all that x [N, C, h, w] holds."""
        fits = x.is_cpu and x.dtype == self.weight.dtype == torch.float32 and not torch.is_grad_enabled()
        if not fits or gain(x.shape[1], self.out_channels, x.shape[-2] * x.shape[-1]) < LEAST_GAIN:
            return super().of_channels(x, channels, bias)
        return winograd_conv(x, self._kernels[:, channels], bias)

    @cached_property
    def _kernels(self) -> Tensor:
        return transform_kernels(self.weight)


def use_winograd(model: nn.Module) -> nn.Module:
    """Let, in place, every convolution of `model` that could ever gain go this way; its weights must not change any
    more."""
    for layer in model.modules():
        if type(layer) in (nn.Conv2d, JointConv2d) and _could_gain(layer):
            layer.__class__ = WinogradConv2d
    return model


def _could_gain(conv: nn.Conv2d) -> bool:
    shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode)
    largest = max(gain(conv.in_channels, conv.out_channels, size) for size in MEASURED)
    return shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros") and largest >= LEAST_GAIN
