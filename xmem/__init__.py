"""XMem: memory-based video object segmentation, exact, streamed, in bounded memory.

import xmem
for result in xmem.segment_video("video.mp4", {0: "mask.png"}, "output"):
    print(result.index, result.mask.max())
"""

import os

# Threads that wait should sleep, not spin: on shared cores (a Space, a laptop in use) spinning made two threads ten
# times slower than one. OpenMP reads this once, when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from xmem.checkpoints import load_model
from xmem.click import Clicker, Words
from xmem.config import MemoryConfig
from xmem.engine.propagator import Propagator
from xmem.engine.segment import FrameResult, segment_video
from xmem.errors import InputError
from xmem.families import family_config
from xmem.session import Session, TrackSettings

__version__ = "0.1.0"

__all__ = [
    "Clicker",
    "FrameResult",
    "InputError",
    "MemoryConfig",
    "Propagator",
    "Session",
    "TrackSettings",
    "Words",
    "family_config",
    "load_model",
    "segment_video",
]
