"""A row is measured on a real clip with a tiny network, in this process."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.tiny_model import write_tiny_model
from xmem.benchmark import networks, worker
from xmem.benchmark.cases import FAMILY_MODELS, Case
from xmem.benchmark.clips import looped_clip, scaled_clip, stand_in
from xmem.benchmark.passes import Bench, held_frames
from xmem.benchmark.results import PARTS
from xmem.benchmark.stopwatch import Stopwatch
from xmem.checkpoints import REGISTRY
from xmem.engine.propagator import Propagator
from xmem.errors import InputError
from xmem.families import family_of
from xmem.networks.stcn import STCN
from xmem.networks.xmem import XMem, xmem_sizes
from xmem.video import FrameReader

FRAMES, SIZE = 32, 32


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """tiny.safetensors; scaled.mp4: the sample; clip.mp4: FRAMES of it."""
    folder = tmp_path_factory.mktemp("benchmark")
    write_tiny_model(folder / "tiny.safetensors")
    scaled_clip(folder / "scaled.mp4", SIZE)
    looped_clip(folder / "clip.mp4", folder / "scaled.mp4", FRAMES)
    return folder


def case(material, **changes) -> Case:
    settings = {"size": SIZE, "objects": 2, "frames": FRAMES, "precision": "float32", "long_term": True}
    return Case(str(material / "tiny.safetensors"), **settings | changes)


@pytest.fixture(scope="module")
def measured(material, tmp_path_factory):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield worker.measure(case(material), material / "clip.mp4", tmp_path_factory.mktemp("results"), "cpu")
    torch.set_num_threads(threads)


def test_a_row_holds_all_that_was_asked_for(measured, material):
    assert measured.case == case(material) and measured.weights == "own file" and measured.error is None
    assert measured.whole.frames == FRAMES and measured.whole.fps > 0
    assert measured.engine.frames == FRAMES - 6  # after the mask and a period of memory
    assert measured.engine.seconds > 0 and measured.gflop > 0
    assert measured.peak_bytes >= measured.start_bytes > 0 and measured.growth_bytes is not None


def test_shares_of_time_cover_every_part_and_sum_to_one(measured):
    assert set(measured.stages) == set(PARTS)
    assert all(seconds > 0 for seconds in measured.stages.values())
    assert sum(measured.shares.values()) == pytest.approx(1)


def test_the_course_tells_how_memory_filled(measured):
    course = measured.engine.course
    assert [sample.frame for sample in course] == list(range(1, FRAMES + 1))
    per_frame = course[0].elements
    assert per_frame == 2 * 4  # 32 x 56 pixels at stride 16
    assert course[-1].elements == 7 * per_frame  # frames 0, 5, ... 30
    assert [sample.frame for sample in measured.whole.course] == list(range(FRAMES + 1))


def test_the_peak_is_never_below_what_a_row_began_with(material, tmp_path, monkeypatch):
    """Linux tells both a little off, so that of a process whose peak was long ago the peak may come out lower."""
    monkeypatch.setattr(worker, "peak_memory", lambda device: 4096)
    row = worker.measure(case(material, passes=("whole",)), material / "clip.mp4", tmp_path, "cpu")
    assert row.peak_bytes == row.start_bytes > 4096


def test_only_the_passes_asked_for_are_run(material, tmp_path):
    only = worker.measure(case(material, passes=("engine",)), material / "clip.mp4", tmp_path, "cpu")
    assert only.engine and only.whole is None and only.stages == {} and not list(tmp_path.iterdir())


def test_a_full_memory_ends_the_row_with_what_was_seen(material, tmp_path, monkeypatch):
    steps = iter(range(FRAMES))

    def step(self, *_args, plain=worker.Propagator.step, **_named):
        if next(steps) == 10:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return plain(self, *_args, **_named)

    monkeypatch.setattr(worker.Propagator, "step", step)
    row = worker.measure(case(material, passes=("engine",)), material / "clip.mp4", tmp_path, "cpu")
    assert row.error == "out of memory after 10 frames"
    assert [sample.frame for sample in row.engine.course] == list(range(1, 11))


def test_another_failure_is_not_taken_for_a_full_memory(material, tmp_path, monkeypatch):
    def step(*_args, **_named):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(worker.Propagator, "step", step)
    with pytest.raises(RuntimeError, match="shapes"):
        worker.measure(case(material, passes=("engine",)), material / "clip.mp4", tmp_path, "cpu")


def test_a_looped_clip_has_exactly_its_frames_and_repeats(material, tmp_path):
    looped_clip(tmp_path / "long.mp4", material / "scaled.mp4", 200)
    with FrameReader(tmp_path / "long.mp4") as reader:
        frames = [frame.image for frame in reader]
    assert len(frames) == 200 and frames[0].shape == (SIZE, 56, 3)
    assert np.array_equal(frames[10], frames[100]) and not np.array_equal(frames[10], frames[60])


def test_frames_are_held_to_and_fro(material):
    frames = held_frames(material / "clip.mp4")
    images = [next(frames) for _ in range(16)]
    assert np.array_equal(images[0], images[14]) and np.array_equal(images[6], images[8])
    assert not np.array_equal(images[0], images[7])


@pytest.mark.parametrize("objects", [1, 3, 10])
def test_a_stand_in_mask_shows_every_object(objects):
    assert set(np.unique(stand_in(854, 480, objects))) == set(range(objects + 1))


def test_a_stopwatch_leaves_objects_as_they_were():
    numbers = [3, 1, 2]

    class Sorter:
        def sort(self, values):
            return sorted(values)

    sorter, watch = Sorter(), Stopwatch(torch.device("cpu"))
    watch.wrap(sorter, "sort", "sorting")
    assert sorter.sort(numbers) == [1, 2, 3] and watch.seconds["sorting"] > 0
    watch.unwrap()
    assert "sort" not in vars(sorter) and sorter.sort(numbers) == [1, 2, 3]


def test_random_weights_of_the_released_sizes_compute_numbers_that_half_precision_holds(monkeypatch, tmp_path):
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path))
    model, weights = networks.load("XMem", "cpu", "float32")
    assert weights == "random" and isinstance(model, XMem) and model.sizes == xmem_sizes()
    with torch.inference_mode():
        key, shrinkage, _, features = model.encode_key(torch.randn(1, 3, 32, 32))
    assert all(part.isfinite().all() and part.abs().max() < 1e4 for part in (key, shrinkage, *features))


def test_a_sample_late_in_a_clip_holds_as_much_as_a_run_that_came_there(material, tmp_path):
    clip = material / "clip.mp4"
    whole = worker.measure(case(material, passes=("engine",)), clip, tmp_path, "cpu").engine.course[-1]
    late = worker.measure(case(material, passes=("sampled",)), clip, tmp_path, "cpu")
    (sample,) = late.engine.course
    assert late.error is None and late.is_sampled and late.engine.frames == 15 and late.engine.fps > 0
    assert sample.frame == FRAMES and abs(sample.elements - whole.elements) <= 2 * 8
    long = worker.measure(case(material, passes=("sampled",), frames=3000), clip, tmp_path, "cpu")
    assert long.engine.course[0].elements > 7000  # consolidated ones


@pytest.mark.parametrize("name", FAMILY_MODELS)
def test_every_family_has_a_network_of_random_weights_that_computes_finite_numbers(name, monkeypatch, tmp_path):
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path))
    model, weights = networks.load(name, "cpu", "float32")
    assert weights == "random" and family_of(model).name == REGISTRY[name].family
    engine = Propagator(model)
    frame = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    engine.step(frame, stand_in(64, 48, 2))
    assert torch.isfinite(engine.step(frame)).all()


def test_long_term_memory_is_switched_off_only_where_there_is_some(material, tmp_path, monkeypatch):
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path))
    clip = material / "clip.mp4"
    with pytest.raises(InputError, match="STCN has no setting 'long_term'"):
        bench = Bench(replace(case(material), long_term=False), clip, tmp_path, STCN(), print)
        assert bench.config
