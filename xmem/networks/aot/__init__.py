"""Tensors in, tensors out, no state: the networks of AOT (Yang, Wei and Yang, NeurIPS 2021), model R50-AOTL."""

from xmem.networks.aot.model import AOT, IDENTITIES, STRIDE, Features, load_state
from xmem.networks.aot.transformer import LayerMemory, LayerTrace

__all__ = ["AOT", "IDENTITIES", "STRIDE", "Features", "LayerMemory", "LayerTrace", "load_state"]
