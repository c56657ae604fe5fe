"""What the tests of a session look at: frames, masks, settings."""

import numpy as np

from xmem import MemoryConfig
from xmem.session import TrackSettings

WIDTH, HEIGHT, COUNT = 96, 64, 24
SETTINGS = TrackSettings(size=None, memory=MemoryConfig(mem_every=2, min_working_frames=2, max_working_frames=4))


def images(count: int = COUNT) -> list[np.ndarray]:
    """A bright square that moves over noise."""
    rng = np.random.default_rng(0)
    ground = rng.integers(40, 90, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    frames = []
    for i in range(count):
        image = ground.copy()
        left = 4 + 2 * (i % 32)
        image[20:36, left : left + 16] = (220, 180, 40)
        frames.append(image)
    return frames


def square(left: int, top: int = 20, object_id: int = 1) -> np.ndarray:
    index = np.zeros((HEIGHT, WIDTH), np.uint8)
    index[top : top + 16, left : left + 16] = object_id
    return index
