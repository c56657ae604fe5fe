"""What a run is estimated to take, in families other than XMem: how their memories grow, and a few timed frames."""

import numpy as np
import pytest
import torch
from family_clips import boxes, made_up_frames
from reference_weights import family_state

import xmem
from tests.video.clips import write_clip
from xmem.families import FAMILIES
from xmem.memory.frames import KeptFrames
from xmem.review.preflight import estimate

FRAMES, PER_FRAME = 41, 6
GROWING = ("stcn", "stm", "aot")


@pytest.mark.parametrize("family", GROWING)
@pytest.mark.parametrize("limit", [None, 3])
def test_elements_in_memory_are_those_of_a_run(family, limit):
    config = FAMILIES[family].config(mem_every=3, max_memory_frames=limit)
    kept, count, held = KeptFrames(limit), 0, []
    for t in range(FRAMES):
        if t % 3 == 0:
            count += 1 - (kept.add(t == 0, temporary=False) is not None)
            held.append(count * PER_FRAME)
    outlook = FAMILIES[family].open(None, config).outlook(FRAMES, PER_FRAME)
    assert (outlook.mean, outlook.most) == (pytest.approx(np.mean(held)), max(held))


@pytest.mark.parametrize("family", [*GROWING, "cutie"])
def test_a_run_is_timed_with_memories_as_full_as_they_will_be(family, tmp_path):
    """The numbers of elements are told by the network's own memory, and a longer run needs more of it."""
    model = xmem.load_model(family_state(family), device="cpu")
    frames = made_up_frames(4)
    engine = xmem.Propagator(model)
    engine.remember(frames[0], boxes(id_1=(4, 20, 2, 18)))
    before = engine.memory_use()
    with torch.inference_mode():
        engine.video_state.fill(100)
    assert engine.memory_use().permanent - before.permanent == (100 if family in GROWING else 0)
    assert torch.isfinite(engine.step(frames[1])).all()
    clip = write_clip(tmp_path / "clip.mp4", frames)
    short, long = (estimate(clip, xmem.TrackSettings(size=None), model, frames=count) for count in (10, 10_000))
    assert short.seconds > 0 and long.seconds > 0
    assert family == "cutie" or short.peak_bytes is None or long.peak_bytes > short.peak_bytes
