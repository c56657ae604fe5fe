"""The sample does what it promises: the embedded model follows its object from the first frame to the last."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import xmem
from demo.runs import settings
from demo.stage import video
from xmem import checkpoints
from xmem.scoring.metrics import region_similarity
from xmem.video import probe

TRUTH = Path(__file__).parents[1] / "data" / "big-buck-bunny"
LEAST_SIMILARITY = 0.6


def test_the_sample_is_small_and_carries_its_licence():
    info = probe(video.SAMPLE_VIDEO)
    assert (info.width, info.height, info.frame_count, info.has_audio) == (640, 360, 90, True)
    assert video.SAMPLE_VIDEO.stat().st_size < 1_000_000
    licence = (video.SAMPLES / "LICENSE.md").read_text()
    assert "(c) 2008 Blender Foundation" in licence and "CC BY 3.0" in licence


@pytest.mark.long
@pytest.mark.skipif(checkpoints.find("xmem-lite") is None, reason="the embedded model is not here")
def test_the_embedded_model_follows_the_samples_object_at_the_pages_size(tmp_path):
    """Against masks drawn by hand on four later frames."""
    mask = np.array(Image.open(video.SAMPLE_MASK))
    found = {
        result.index: result.mask > 0
        for result in xmem.segment_video(video.SAMPLE_VIDEO, {0: mask}, tmp_path, size=settings.CPU_SIZE, device="cpu")
        if (TRUTH / f"{result.index:05d}.png").exists()
    }
    similarities = {
        index: region_similarity(mask, np.array(Image.open(TRUTH / f"{index:05d}.png")) > 0)
        for index, mask in found.items()
    }
    assert len(similarities) == 4
    assert min(similarities.values()) >= LEAST_SIMILARITY, similarities
