"""The networks of STM (Oh, Lee, Xu and Kim, ICCV 2019): tensors in, tensors out, no state."""

from xmem.networks.stm.decoder import ImagePart
from xmem.networks.stm.encoders import KEY_CHANNELS, VALUE_CHANNELS
from xmem.networks.stm.model import STM, load_state

__all__ = ["KEY_CHANNELS", "STM", "VALUE_CHANNELS", "ImagePart", "load_state"]
