"""The page's way is measured on real sessions, with a network that knows its masks beforehand."""

import numpy as np
import pytest
import torch

from tests.video.clips import write_clip
from xmem import Propagator, Session
from xmem.benchmark.clips import stand_in
from xmem.benchmark.free import KNOWN, NAME, free_network, recorded
from xmem.benchmark.page import WARM_UP, measure_file, measure_page
from xmem.engine.masks import index_mask
from xmem.families import FAMILIES
from xmem.video import FrameReader


def clip(folder, count, shape=(48, 64)):
    image = np.full((*shape, 3), 90, np.uint8)
    return write_clip(folder / "clip.mp4", [image] * count, pix_fmt="yuv444p")


def test_a_network_that_costs_nothing_gives_what_was_recorded(tmp_path):
    """Of frames whose sides are no multiples of the grid's."""
    known = recorded(clip(tmp_path, 10, (45, 62)), 2)
    with free_network(known) as model:
        engine = Propagator(model)
        engine.step(np.zeros((45, 62, 3), np.uint8), stand_in(62, 45, 2))
        assert torch.equal(engine.step(np.zeros((45, 62, 3), np.uint8)), known[1, :, 1:46, 1:63])
    assert NAME not in FAMILIES


@pytest.mark.parametrize("alone", [False, True])
def test_a_run_on_the_page_is_measured_with_its_files(tmp_path, alone):
    """Whole frames are written and measured in either case, also where a device's part is left out."""
    path = clip(tmp_path, WARM_UP + 3)
    found = measure_page(path, tmp_path / "session", 2, None, "cpu", alone)
    assert found.fps > 0 and found.processor_ms > 0 and found.kilobytes > 0
    session = Session.open(tmp_path / "session")
    last = next(result for result in session.frames(WARM_UP + 2, WARM_UP + 2))
    assert np.array_equal(last.mask, index_mask(recorded(path, 2)[(WARM_UP + 2) % KNOWN], [1, 2]))
    assert {row.frame for row in session.stats()} == set(range(WARM_UP + 3))


@pytest.mark.parametrize("alone", [False, True])
def test_file_to_file_is_measured_with_its_files(tmp_path, alone):
    found = measure_file(clip(tmp_path, WARM_UP + 3), tmp_path / "out", 1, None, "cpu", alone)
    assert found.fps > 0 and found.processor_ms > 0
    assert len(list((tmp_path / "out" / "masks").iterdir())) == WARM_UP + 3
    with FrameReader(tmp_path / "out" / "overlay.mp4") as reader:
        assert sum(1 for _ in reader) == WARM_UP + 3
