"""What a person is told before a run, against what the run then is."""

import copy
import os
import time
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import TINY_SIZES

from tests.video.clips import flat_images, write_clip
from xmem.config import MemoryConfig
from xmem.device import free_memory
from xmem.engine.propagator import Propagator
from xmem.networks.xmem import XMem
from xmem.review import preflight as preflight_module
from xmem.review import trial as trial_module
from xmem.review.preflight import Estimate, estimate, preflight
from xmem.session import Session, TrackSettings
from xmem.video import FrameAccess, probe

SETTINGS = TrackSettings(size=64)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> XMem:
    torch.manual_seed(0)
    return XMem(TINY_SIZES).eval().requires_grad_(False)


@pytest.fixture
def clip(tmp_path):
    """30 frames of 128x96, which change."""
    images = np.random.default_rng(0).integers(0, 255, (30, 96, 128, 3), np.uint8)
    return write_clip(tmp_path / "clip.mp4", list(images), audio="aac")


class TestPreflight:
    """The card of a video."""

    def test_a_plain_clip(self, clip):
        found = preflight(clip)
        assert found.lines() == ["128 × 96", "30 frames", "1.2 s", "25 frames per second", "with sound", "H.264"]
        assert found.warnings == ()
        assert preflight(probe(clip)) == found

    def test_what_is_unusual_is_said_in_sentences(self, tmp_path):
        def turn(stream) -> None:
            stream.set_display_rotation(-90)

        path = write_clip(
            tmp_path / "phone.mp4",
            flat_images(12),
            times=[0, 1, 2, 10, 11, 40, 41, 42, 43, 90, 91, 100],
            configure=turn,
        )
        found = preflight(path)
        assert found.lines()[0] == "48 × 64"
        assert "turned by 90°" in found.lines() and any("variable rate" in line for line in found.lines())
        assert len(found.warnings) == 2 and all(text.endswith(".") for text in found.warnings)

    def test_length_size_and_memory(self, clip, monkeypatch):
        info = probe(clip)
        long = replace(info, duration=4000.0, frame_count=100_000, frame_count_exact=False)
        assert "about 100,000 frames" in preflight(long).lines() and "1 h 06 min" in preflight(long).lines()
        assert any("trim it" in text for text in preflight(long).warnings)
        assert any("odd" in text for text in preflight(replace(info, width=129)).warnings)
        assert any("33 megapixels" in text for text in preflight(replace(info, width=7680, height=4320)).warnings)
        monkeypatch.setattr(preflight_module, "free_memory", lambda _device: 100_000)
        assert any("too large" in text for text in preflight(info).warnings)

    def test_a_folder_of_images(self, tmp_path):
        Image.fromarray(flat_images(1)[0]).save(tmp_path / "0.png")
        found = preflight(tmp_path)
        assert found.lines() == ["64 × 48", "1 frame", "PNG images"]
        assert "single frame" in found.warnings[0]


@pytest.mark.parametrize(
    "config",
    [
        MemoryConfig(mem_every=2, min_working_frames=2, max_working_frames=4, prototypes=3, max_long_term=8),
        MemoryConfig(mem_every=3, long_term=False),
        MemoryConfig(),
    ],
)
def test_elements_in_memory_are_those_of_a_run(model, config):
    engine = Propagator(model, config)
    frames = np.random.default_rng(0).integers(0, 255, (41, 32, 48, 3), np.uint8)
    mask = np.zeros((32, 48), np.uint8)
    mask[8:24, 8:24] = 1
    held = []
    for index, frame in enumerate(frames):
        engine.step(frame, mask if index == 0 else None)
        use = engine.memory_use()
        held.append(use.working + use.long_term)
    mean, most, _ = engine.video_state.outlook(len(frames), per_frame=6)
    assert mean == pytest.approx(np.mean(held), rel=0.15)
    assert max(held) <= most <= max(held) + config.max_working_frames * 6


class TestEstimate:
    """Time and memory of a run."""

    def test_it_is_what_the_run_takes(self, clip, tmp_path, tiny_model, monkeypatch):
        """In processor seconds, which other work on the machine does not change; a real network's shape."""
        monkeypatch.setattr(trial_module, "time", SimpleNamespace(perf_counter=time.process_time))
        settings = TrackSettings(size=96)
        session = _session(clip, tmp_path / "work")
        found = estimate(session, settings, tiny_model)
        begun = time.process_time()
        steps = sum(1 for _ in session.propagate(settings, tiny_model))
        taken = time.process_time() - begun
        assert found.seconds == pytest.approx(found.seconds_per_frame * steps)
        assert 0.5 < found.seconds / taken < 2

    def test_a_session_counts_what_is_pending(self, clip, tmp_path, model):
        session = _session(clip, tmp_path / "work")
        files = sorted(os.walk(session.folder))
        assert _frames(estimate(session, SETTINGS, model)) == 30
        session.set_trim(5, 24)
        session.set_key_frame(20, _mask())  # 15 frames both ways and one more, then 5 frames
        session.set_key_frame(5, _mask())
        assert _frames(estimate(session, SETTINGS, model)) == sum(span.steps for span in session.pending(SETTINGS))
        assert sorted(os.walk(session.folder / "spans")) == [
            e for e in files if e[0].startswith(str(session.folder / "spans"))
        ]

    def test_a_video_and_an_opened_one(self, clip, model):
        assert _frames(estimate(clip, SETTINGS, model)) == 30
        with FrameAccess(clip) as access:
            found = estimate(access, SETTINGS, model, objects=3, frames=600)
            assert _frames(found) == 600
            assert access.frame(3).index == 3
        assert "CPU" in found.device and "on CPU" in found.reason
        assert found.proposed_size is None

    def test_the_networks_precision_is_what_is_timed_and_named(self, clip, model):
        found = estimate(clip, SETTINGS, copy.deepcopy(model).bfloat16())
        assert found.device.endswith("bfloat16") and "bfloat16." in found.reason and found.seconds > 0
        assert "float" not in estimate(clip, SETTINGS, model).device

    @pytest.mark.parametrize("count", [1, 2, 3, 5])
    def test_short_clips(self, tmp_path, model, count):
        path = write_clip(tmp_path / "short.mp4", flat_images(count))
        assert estimate(path, SETTINGS, model).seconds > 0

    def test_more_objects_and_longer_runs_need_more_memory(self, clip, model):
        def new_bytes(objects: int, frames: int, config: MemoryConfig) -> int:
            settings = replace(SETTINGS, memory=config)
            with FrameAccess(clip) as access:
                work = trial_module.Work(0, frames, objects)
                rehearsal = trial_module._Rehearsal(config, work)
                job = trial_module._job(access, settings, model, work, 4, rehearsal)
                engine = job.engine(job.span.start)
                return rehearsal.bytes_to_come() + engine.memory_use().bytes

        bounded, unbounded = MemoryConfig(), MemoryConfig(long_term=False)
        assert new_bytes(1, 100, bounded) < new_bytes(4, 100, bounded)
        assert new_bytes(1, 20_000, bounded) < 3 * new_bytes(1, 2_000, bounded)
        assert new_bytes(1, 20_000, unbounded) > 5 * new_bytes(1, 2_000, unbounded)

    def test_its_peak_is_at_least_what_is_resident(self, clip, model):
        found = estimate(clip, SETTINGS, model)
        if found.peak_bytes is None:
            pytest.skip("This system does not tell.")
        assert found.peak_bytes > 100_000_000
        assert free_memory(CPU) > 0

    def test_a_long_run_gets_a_smaller_size(self, clip, model, monkeypatch):
        trial = trial_module.Trial(1.2, 1.0, None, 0)
        monkeypatch.setattr(preflight_module, "run_trial", lambda *_: trial)
        found = estimate(clip, TrackSettings(size=480), model, frames=1000)
        assert found.proposed_size == 288, "1000 x (0.2 + (288 / 480)^2) seconds are within ten minutes"
        assert "288 pixels" in found.reason and "9 min 20 s" in found.reason
        endless = estimate(clip, TrackSettings(size=480), model, frames=10_000)
        assert endless.proposed_size == 240, "the quickest where none is quick"
        smallest = estimate(clip, TrackSettings(size=240), model, frames=10_000)
        assert smallest.proposed_size is None and "trim" in smallest.reason
        assert estimate(clip, TrackSettings(size=480), model, frames=100).proposed_size is None

    def test_a_run_that_does_not_fit_gets_a_smaller_size(self, clip, model, monkeypatch):
        trial = trial_module.Trial(0.1, 0.08, 3_000_000_000, 2_000_000_000)
        monkeypatch.setattr(preflight_module, "run_trial", lambda *_: trial)
        monkeypatch.setattr(preflight_module, "free_memory", lambda _device: 1_000_000_000)
        found = estimate(clip, TrackSettings(size=480), model)
        assert found.proposed_size == 288, "2 GB x (288 / 480)^2 is within 0.8 GB"
        assert "2 GB" in found.reason and "1 are free" in found.reason
        monkeypatch.setattr(preflight_module, "free_memory", lambda _device: None)
        found = estimate(clip, TrackSettings(size=480), model)
        assert found.proposed_size is None and "not known" in found.reason


def _session(clip, folder) -> Session:
    session = Session.create(clip, folder)
    session.set_key_frame(0, _mask())
    return session


def _mask() -> np.ndarray:
    mask = np.zeros((96, 128), np.uint8)
    mask[20:60, 30:70] = 1
    return mask


def _frames(found: Estimate) -> int:
    return round(Fraction(found.seconds / found.seconds_per_frame))
