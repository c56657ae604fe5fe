"""Weights that depend on nothing but their names, so that two implementations can be compared without a checkpoint."""

import json
import math
import zlib
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "reference"


def draw(name: str, shape: tuple[int, ...], salt: int) -> np.ndarray:
    """The tensor of this name: scales near one, small biases, weights by fan-in; a small head keeps masks soft."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()) + salt))
    kind = name.rsplit(".", 1)[-1]
    if kind == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if kind == "running_var":
        return rng.uniform(0.8, 1.2, shape).astype(np.float32)
    if kind in ("running_mean", "bias"):
        return rng.normal(0, 0.05, shape).astype(np.float32)
    if len(shape) == 1:  # batch-norm scale; a residual branch ends in a small one, to keep depth stable
        small = ".bn3." in name or ".bn2." in name
        return ((0.25 if small else 1.0) * rng.uniform(0.8, 1.2, shape)).astype(np.float32)
    gain = 0.1 if name == "decoder.pred.weight" else 1.6
    return rng.normal(0, math.sqrt(gain / math.prod(shape[1:])), shape).astype(np.float32)


def released_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of a released checkpoint's tensors."""
    return {k: tuple(v) for k, v in json.loads((FOLDER / "state_dict.json").read_text()).items()}


def released_state(salt: int = 0, sensory: bool = True) -> dict[str, np.ndarray]:
    """A full state dict of drawn weights; without sensory memory, its tensors are left out and one narrows."""
    shapes = released_shapes()
    if not sensory:
        shapes = {k: v for k, v in shapes.items() if "hidden_update" not in k and "hidden_reinforce" not in k}
        for name in ("decoder.fuser.block1.downsample.weight", "decoder.fuser.block1.conv1.weight"):
            out, channels, *kernel = shapes[name]
            shapes[name] = (out, channels - 64, *kernel)
    return {name: draw(name, shape, salt) for name, shape in shapes.items()}
