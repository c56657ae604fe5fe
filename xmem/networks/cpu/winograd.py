"""3x3 convolutions by Winograd's minimal filtering, in plain matrix products (Lavin and Gray, 2016, F(4x4, 3x3)).

A tile of 4 x 4 outputs needs 36 products per pair of channels in place of 144. The transforms before and after are
written as matrix products, too (the Kronecker product of the one-dimensional transform with itself), a few tiles at a
time, so that what lies between input and output stays in the processor's cache.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor

TILE, KERNEL = 4, 3
PATCH = TILE + KERNEL - 1  # a tile's inputs along an axis
# Interpolation points besides infinity. Rounding errors are 2.5 times smaller than with the usual 0, ±1, ±2
# (root mean square over random inputs of 1024 channels; 4 times those of a direct float32 convolution).
POINTS = (Fraction(0), Fraction(5, 8), Fraction(-5, 8), Fraction(3, 2), Fraction(-3, 2))
CHUNK_BYTES, CHUNK_TILES = 24 << 20, 448  # of transformed inputs at once


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
    first, second, third = (
        torch.tensor([[float(x) for x in row] for row in rows], dtype=torch.float64)
        for rows in (products, kernels, inputs)
    )
    return first, second, third


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


def winograd_conv(
    x: Tensor, kernels: Tensor, bias: Tensor | None = None, relu: bool = False, onto: Tensor | None = None
) -> Tensor:
    """Convolution of x, padded by 1, plus `onto`, and ReLU if asked for: x [N, C_in, h, w], kernels [36, C_in, C_out]
    as transformed, bias [C_out], onto [N, C_out, h, w] -> [N, C_out, h, w], channels-last."""
    out = x.new_empty((len(x), *x.shape[-2:], kernels.shape[2]))
    for i, image in enumerate(x.permute(0, 2, 3, 1)):
        _convolve(image, kernels, bias, relu, None if onto is None else onto[i].permute(1, 2, 0), out[i])
    return out.permute(0, 3, 1, 2)


def _convolve(
    image: Tensor, kernels: Tensor, bias: Tensor | None, relu: bool, onto: Tensor | None, out: Tensor
) -> None:
    """image [h, w, C_in] -> out [h, w, C_out], onto of the same shape."""
    height, width, channels = image.shape
    down, across = math.ceil(height / TILE), math.ceil(width / TILE)  # tiles
    padded = _padded(image, down, across)
    row, column, _ = padded.stride()
    wide = max(kernels.shape[1:])
    most = min(CHUNK_TILES, CHUNK_BYTES // (PATCH**2 * 4 * wide))
    step = min(max(1, most // across), down)
    # Two places that take turns: fresh ones for each chunk would come from the system, to be cleared page by page.
    first, second = image.new_empty((2, step * across * PATCH**2 * wide))
    for top in range(0, down, step):
        rows = min(step, down - top)
        tiles = rows * across
        shape, stride = (rows, across, PATCH, PATCH, channels), (TILE * row, TILE * column, row, column, 1)
        patches = _start(first, *shape).copy_(padded.as_strided(shape, stride, TILE * top * row))
        patches = patches.view(tiles, PATCH**2, channels)
        inputs = _start(second, tiles, PATCH**2, channels)
        torch.bmm(TO_INPUTS.expand(tiles, -1, -1), patches, out=inputs)
        products = _start(first, PATCH**2, tiles, kernels.shape[2])
        torch.bmm(inputs.transpose(0, 1), kernels, out=products)
        outputs = _start(second, tiles, TILE**2, kernels.shape[2])
        torch.bmm(FROM_PRODUCTS.expand(tiles, -1, -1), products.transpose(0, 1), out=outputs)
        band = slice(TILE * top, TILE * (top + rows))
        _place(outputs.view(rows, across, TILE, TILE, -1).transpose(1, 2), bias, out[TILE * top :])
        if onto is not None:
            out[band] += onto[band]
        if relu:
            out[band].clamp_min_(0)


def _padded(image: Tensor, down: int, across: int) -> Tensor:
    """image [h, w, C] in the middle of zeros, one before it and enough behind for the last tile."""
    height, width, channels = image.shape
    padded = image.new_empty((TILE * down + 2, TILE * across + 2, channels))
    middle = padded[1 : height + 1]
    for rim in (padded[0], padded[height + 1 :], middle[:, 0], middle[:, width + 1 :]):
        rim.zero_()
    middle[:, 1 : width + 1] = image
    return padded


def _start(place: Tensor, *shape: int) -> Tensor:
    """The start of a place, in that shape."""
    return place[: math.prod(shape)].view(shape)


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
