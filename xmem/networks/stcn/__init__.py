"""The networks of STCN (Cheng, Tai and Tang, NeurIPS 2021): tensors in, tensors out, no state."""

from xmem.networks.stcn.decoder import ImagePart
from xmem.networks.stcn.encoders import KEY_CHANNELS, VALUE_CHANNELS
from xmem.networks.stcn.model import STCN, load_state

__all__ = ["KEY_CHANNELS", "STCN", "VALUE_CHANNELS", "ImagePart", "load_state"]
