"""Tensors in, tensors out, no state: the networks of XMem."""

from xmem.network.decoder import ImagePart, aggregate, padding_to_stride, soft_aggregate
from xmem.network.fold import fold_batch_norm
from xmem.network.model import XMem, load_state
from xmem.network.packed import use_packed
from xmem.network.sizes import ModelSizes, lite_sizes, xmem_sizes
from xmem.network.winograd import use_winograd

__all__ = [
    "ImagePart",
    "ModelSizes",
    "XMem",
    "aggregate",
    "fold_batch_norm",
    "lite_sizes",
    "load_state",
    "padding_to_stride",
    "soft_aggregate",
    "use_packed",
    "use_winograd",
    "xmem_sizes",
]
