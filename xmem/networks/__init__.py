"""Tensors in, tensors out, no state: a folder per family, and in `cpu` what makes a CPU fast."""

from xmem.networks.network import Network, padding_to_stride

__all__ = ["Network", "padding_to_stride"]
