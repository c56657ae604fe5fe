"""Weights that depend on nothing but their names, so that two implementations can be compared without a checkpoint."""

import json
import math
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from xmem.config import MemoryConfig

FOLDER = Path(__file__).parent / "reference"


# Families beside XMem: scales of what would otherwise be lost or drown the rest, by last part of a name or by name.
GAINS = {
    "patch_wise_id_bank.weight": 16.0,
    "relative_emb_v": 300.0,
    "module.Decoder.pred2.weight": 0.1,
    "mask_decoder.pred.weight": 0.3,
    "object_transformer.query_init.weight": 256.0,
    "object_transformer.query_emb.weight": 256.0,
    "decoder.conv_out.weight": 10.0,
    "decoder.pred.weight": 0.1,  # a small head keeps masks soft
}
CALM = (  # Cutie: with ordinary scales here, the loop over frames would multiply rounding by ten at each
    "pixel_fuser.",
    "object_transformer.",
    "object_summarizer.",
    "mask_encoder.fuser.",
    "mask_encoder.sensory_update.",
    "mask_decoder.",
)


def draw(name: str, shape: tuple[int, ...], salt: int) -> np.ndarray:
    """The tensor of this name: scales near one, small biases, weights by fan-in."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()) + salt))
    kind = name.rsplit(".", 1)[-1]
    if kind == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if kind == "running_var":
        return rng.uniform(0.8, 1.2, shape).astype(np.float32)
    if kind in ("mean", "std") and shape == (1, 3, 1, 1):  # STM: the image's normalisation
        return np.array((0.485, 0.456, 0.406) if kind == "mean" else (0.229, 0.224, 0.225), np.float32).reshape(shape)
    if kind == "inv_freq":  # Cutie: the position code's frequencies
        return (128.0 ** (-np.arange(shape[0]) / shape[0])).astype(np.float32)
    if kind in ("running_mean", "bias") or kind.endswith("_bias"):
        return rng.normal(0, 0.05, shape).astype(np.float32)
    if len(shape) == 1:  # batch-norm scale; a residual branch ends in a small one, to keep depth stable
        small = ".bn3." in name or ".bn2." in name
        return ((0.25 if small else 1.0) * rng.uniform(0.8, 1.2, shape)).astype(np.float32)
    gain = GAINS.get(kind, GAINS.get(name, 0.9 if name.startswith(CALM) else 1.6))
    return rng.normal(0, math.sqrt(gain / math.prod(shape[1:])), shape).astype(np.float32)


def family_state(family: str, salt: int = 0) -> dict[str, np.ndarray]:
    """A state dict of drawn weights with the names and shapes that a family's released checkpoint has."""
    return dict(_drawn(FOLDER / "families" / family, salt))


@lru_cache(maxsize=2)  # tests of a file mostly want the same, and a second is a good part of what many of them take
def _drawn(folder: Path, salt: int) -> dict[str, np.ndarray]:
    return {name: draw(name, shape, salt) for name, shape in released_shapes(folder).items()}


def released_shapes(folder: Path = FOLDER) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a released checkpoint's tensors."""
    return {k: tuple(v) for k, v in json.loads((folder / "state_dict.json").read_text()).items()}


def released_state(salt: int = 0, sensory: bool = True) -> dict[str, np.ndarray]:
    """A full state dict of drawn weights; without sensory memory, its tensors are left out and one narrows."""
    if sensory:
        return dict(_drawn(FOLDER, salt))
    shapes = {k: v for k, v in released_shapes().items() if "hidden_update" not in k and "hidden_reinforce" not in k}
    for name in ("decoder.fuser.block1.downsample.weight", "decoder.fuser.block1.conv1.weight"):
        out, channels, *kernel = shapes[name]
        shapes[name] = (out, channels - 64, *kernel)
    return {name: draw(name, shape, salt) for name, shape in shapes.items()}


TOLERANCE = 1e-4


def config_of(reference) -> MemoryConfig:
    c = json.loads(str(reference["config"]))
    return MemoryConfig(
        mem_every=c["mem_every"],
        deep_update_every=c["deep_update_every"],
        top_k=c["top_k"],
        long_term=c["enable_long_term"],
        min_working_frames=c["min_mid_term_frames"],
        max_working_frames=c["max_mid_term_frames"],
        prototypes=c["num_prototypes"],
        max_long_term=c["max_long_term_elements"],
    )
