"""XMem: memory-based video object segmentation, exact, streamed, in bounded memory.

    import xmem
    for result in xmem.segment_video("video.mp4", {0: "mask.png"}, "output"):
        print(result.index, result.mask.max())
"""

from xmem.checkpoints import load_model
from xmem.config import MemoryConfig
from xmem.errors import InputError
from xmem.propagator import Propagator
from xmem.segment import FrameResult, segment_video

__all__ = ["FrameResult", "InputError", "MemoryConfig", "Propagator", "load_model", "segment_video"]
