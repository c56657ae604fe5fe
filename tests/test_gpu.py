"""What only a CUDA device can show: the reference's numbers there, half precision's scores, budgets, flat memory.

Skipped where there is none. `make gpu` runs them and then the benchmark.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from reference_weights import FOLDER, TOLERANCE, config_of, released_state

import xmem
from xmem.engine.masks import index_of
from xmem.engine.transfers import fetch, near
from xmem.scoring.evaluation import evaluate
from xmem.session.probabilities import sixteen_bits

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

CLIPS = Path(__file__).parents[1] / "clips"  # in a bundle of `make gpu-bundle`
DAVIS = CLIPS if CLIPS.is_dir() else Path(__file__).parents[2] / "shared" / "data" / "davis2016-train"
HELD_BACK = ("flamingo", "car-turn", "dance-jump", "mallard-fly", "scooter-gray")
GB = 1e9


def frames(count: int, height: int, width: int):
    """A textured picture that drifts: uint8 [H, W, 3]."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (height + 64, width + 64, 3), np.uint8)
    for i in range(count):
        shift = abs(i % 128 - 64)
        yield np.ascontiguousarray(picture[shift : shift + height, shift : shift + width])


def discs(objects: int, height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    mask = np.zeros((height, width), np.uint8)
    for i in range(objects):
        centre = (i + 0.5) * width / objects
        mask[(rows - height / 2) ** 2 + (columns - centre) ** 2 < (height / 8) ** 2] = i + 1
    return mask


@pytest.mark.parametrize("name", ["two-objects", "long-run"])
def test_float32_matches_the_released_implementation(name):
    """TensorFloat-32 would round products to 10 bits: float32 must not use it."""
    reference = np.load(FOLDER / f"{name}.npz")
    model = xmem.load_model(released_state(int(reference["salt"])), "cuda", "float32")
    engine = xmem.Propagator(model, config_of(reference))
    for t, (frame, expected) in enumerate(zip(reference["frames"], reference["prob"], strict=True)):
        prob = engine.step(frame, reference.get(f"mask_{t}")).cpu().numpy()
        assert np.abs(prob - expected / 65535).max() < TOLERANCE, f"frame {t}"


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_is_near_the_reference(precision, record_property):
    """Of random weights, whose masks are soft: how far numbers move is recorded; most pixels stay an object's."""
    reference = np.load(FOLDER / "two-objects.npz")
    model = xmem.load_model(released_state(int(reference["salt"])), "cuda", precision)
    engine, farthest, alike = xmem.Propagator(model, config_of(reference)), 0.0, []
    for t, (frame, expected) in enumerate(zip(reference["frames"], reference["prob"], strict=True)):
        prob = engine.step(frame, reference.get(f"mask_{t}")).cpu().numpy()
        farthest = max(farthest, float(np.abs(prob - expected / 65535).max()))
        alike.append((prob.argmax(0) == expected.argmax(0)).mean())
    record_property("farthest", farthest)
    record_property("alike", float(np.mean(alike)))
    assert np.mean(alike) > 0.98


@pytest.fixture
def may_wait_again():
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("objects", [1, 3])
def test_no_frame_waits_for_the_device(objects, may_wait_again):
    """Frames, memory frames and a consolidation, uploads and the fetching of results: torch refuses to wait in any."""
    device, images = torch.device("cuda"), list(frames(60, 240, 432))
    engine = xmem.Propagator(xmem.load_model(released_state(0), "cuda", "float16"))
    fetched = []
    for i, image in enumerate(near(image, device) for image in images):
        if i == 2:  # the first that reads makes tables, once
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error")
        prob = engine.step(image, discs(objects, 240, 432) if i == 0 else None)
        if i >= 2:
            fetched = [fetch(sixteen_bits(prob[1:])), fetch(index_of(prob, engine.objects))]
    torch.cuda.set_sync_debug_mode("default")
    assert engine.memory.long_term_size and fetched[1]().shape == (240, 432)


@pytest.mark.skipif(not DAVIS.is_dir(), reason="the held-back clips are not here")
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_keeps_the_scores(precision):
    exact, half = (
        evaluate(DAVIS, xmem.load_model("xmem-lite", "cuda", p), size=384, sequences=HELD_BACK)
        for p in ("float32", precision)
    )
    assert abs(exact.jf - half.jf) <= 0.002


@pytest.mark.parametrize(("size", "objects", "budget"), [((480, 854), 1, 1.5 * GB), ((1080, 1920), 5, 11 * GB)])
def test_memory_stays_within_its_budget(size, objects, budget):
    """Full XMem in half precision, memories full: 250 frames make five consolidations."""
    model = xmem.load_model(released_state(0), "cuda", "float16")
    engine = xmem.Propagator(model)
    for i, frame in enumerate(frames(250, *size)):
        if i == 30:  # cuDNN has tried its algorithms by then, some of which ask for far more than the one it takes
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        engine.step(frame, discs(objects, *size) if i == 0 else None)
    assert torch.cuda.max_memory_allocated() < budget


def test_memory_is_flat_from_1000_to_10000_frames():
    model = xmem.load_model("xmem-lite", "cuda", "float16")
    engine, peaks = xmem.Propagator(model), []
    for i, frame in enumerate(frames(10_000, 240, 432)):
        engine.step(frame, discs(1, 240, 432) if i == 0 else None)
        if i == 999:
            peaks.append(torch.cuda.max_memory_allocated())
    assert torch.cuda.max_memory_allocated() <= 1.01 * peaks[0]


def test_a_full_gpu_gives_the_same_masks_in_smaller_pieces():
    model = xmem.load_model(released_state(0), "cuda", "float16")
    clip, mask = list(frames(6, 480, 854)), discs(6, 480, 854)

    def masks(is_scarce: bool = False) -> list[np.ndarray]:
        engine = xmem.Propagator(model)
        found = [engine.step(f, mask if i == 0 else None).argmax(0).cpu().numpy() for i, f in enumerate(clip)]
        assert engine.takes_smaller_pieces == is_scarce, "memory was full where it should be, and only there"
        return found

    torch.cuda.reset_peak_memory_stats()
    ample, most = masks(), torch.cuda.max_memory_allocated()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(0.7 * most / total)
    try:
        scarce = masks(is_scarce=True)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    for a, b in zip(ample, scarce, strict=True):
        assert (a == b).mean() > 0.999
