"""Tensors in, tensors out, no state: the networks of XMem."""

from xmem.networks.xmem.decoder import ImagePart, aggregate, soft_aggregate
from xmem.networks.xmem.model import XMem, load_state
from xmem.networks.xmem.sizes import ModelSizes, lite_sizes, xmem_sizes

__all__ = [
    "ImagePart",
    "ModelSizes",
    "XMem",
    "aggregate",
    "lite_sizes",
    "load_state",
    "soft_aggregate",
    "xmem_sizes",
]
