"""The page's way is measured on real sessions, with a network that knows its masks beforehand."""

import numpy as np
import torch

from tests.video.clips import write_clip
from xmem import Propagator, Session
from xmem.benchmark.clips import stand_in
from xmem.benchmark.free import NAME, free_network
from xmem.benchmark.page import WARM_UP, measure_page
from xmem.families import FAMILIES


def clip(folder, count):
    image = np.full((48, 64, 3), 90, np.uint8)
    return write_clip(folder / "clip.mp4", [image] * count)


def test_a_network_that_costs_nothing_gives_the_masks_of_its_discs():
    with free_network(48, 64, 2, torch.device("cpu")) as model:
        engine = Propagator(model)
        engine.step(np.zeros((48, 64, 3), np.uint8), stand_in(64, 48, 2))
        found = engine.step(np.zeros((48, 64, 3), np.uint8)).argmax(0).numpy()
        assert (found == stand_in(64, 48, 2)).mean() > 0.85
    assert NAME not in FAMILIES


def test_a_run_on_the_page_is_measured_with_its_files(tmp_path):
    found = measure_page(clip(tmp_path, WARM_UP + 3), tmp_path / "session", 2, None, "cpu")
    assert found.fps > 0 and found.processor_ms > 0 and found.kilobytes > 0
    assert Session.open(tmp_path / "session").has_result(WARM_UP + 2)
