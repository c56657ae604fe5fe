"""The networks of STM (Oh, Lee, Xu and Kim, ICCV 2019): tensors in, tensors out, no state."""

from xmem.networks.stm.decoder import ImagePart
from xmem.networks.stm.model import STM, load_state

__all__ = ["STM", "ImagePart", "load_state"]
