"""Tensors in, tensors out, no state: the networks of XMem."""

from xmem.networks.cpu.fold import fold_batch_norm
from xmem.networks.cpu.packed import use_packed
from xmem.networks.cpu.winograd import use_winograd
from xmem.networks.xmem.decoder import ImagePart, aggregate, soft_aggregate
from xmem.networks.xmem.model import XMem, load_state
from xmem.networks.xmem.sizes import ModelSizes, lite_sizes, xmem_sizes

__all__ = [
    "ImagePart",
    "ModelSizes",
    "XMem",
    "aggregate",
    "fold_batch_norm",
    "lite_sizes",
    "load_state",
    "soft_aggregate",
    "use_packed",
    "use_winograd",
    "xmem_sizes",
]
