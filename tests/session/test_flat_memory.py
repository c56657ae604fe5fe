"""Nothing that costs memory per frame stays in memory."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny_model import TINY_SIZES
from tests.video.clips import write_clip
from xmem import MemoryConfig, Session
from xmem.networks.xmem import XMem
from xmem.session import TrackSettings

FRAMES, SETTLED = 1000, 200  # buffers, caches and long-term memory have their size after the first frames
SETTINGS = TrackSettings(
    size=48,
    direction="forward",
    memory=MemoryConfig(mem_every=5, min_working_frames=2, max_working_frames=4, prototypes=4, max_long_term=64),
)
GROWTH_BYTES = 24e6  # decoded, these frames are 37 MB, their probabilities as float 49 MB for each object and pass


def resident() -> int:
    """Bytes of this process in memory."""
    return 4096 * int(Path("/proc/self/statm").read_text().split()[1])


def highest_growth(steps, settled: int) -> tuple[int, int]:
    """Run through `steps`: how many there were, and by how many bytes memory grew after the first `settled`."""
    count, settled_bytes, growth = 0, 0, 0
    for count, _ in enumerate(steps, start=1):
        if count == settled:
            settled_bytes = resident()
        elif count > settled and count % 50 == 0:
            growth = max(growth, resident() - settled_bytes)
    return count, growth


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from Linux's /proc")
def test_a_clip_of_1000_frames_is_tracked_and_corrected_in_its_middle_in_flat_memory(tmp_path):
    image = np.full((96, 128, 3), 90, np.uint8)
    images = []
    for i in range(FRAMES):
        frame = image.copy()
        frame[32:64, i % 88 : i % 88 + 32] = (230, 190, 40)
        images.append(frame)
    session = Session.create(write_clip(tmp_path / "long.mp4", images), tmp_path / "work")
    images.clear()
    mask = np.zeros((96, 128), np.uint8)
    mask[32:64, 0:32] = 1
    torch.manual_seed(0)
    network = XMem(TINY_SIZES).eval().requires_grad_(False)
    for frame in (0, 450, 550):
        session.set_key_frame(frame, np.roll(mask, frame % 88, axis=1))
    count, growth = highest_growth(session.propagate(SETTINGS, network), SETTLED)
    assert count == FRAMES and growth < GROWTH_BYTES

    session.set_key_frame(500, np.roll(mask, 500 % 88, axis=1))
    count, growth = highest_growth(session.propagate(SETTINGS, network), 50)
    assert count == 100 and growth < GROWTH_BYTES
    assert session.pending() == [] and session.has_result(FRAMES - 1)
