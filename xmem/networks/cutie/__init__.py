"""Tensors in, tensors out, no state: the networks of Cutie (Cheng et al., CVPR 2024)."""

from xmem.networks.cutie.model import Cutie, Features, load_state
from xmem.networks.cutie.sizes import CutieSizes

__all__ = ["Cutie", "CutieSizes", "Features", "load_state"]
