"""The whole way of a video: what lands on disk, and that it is valid whenever the iteration stops."""

import threading
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.plain_pipeline import make_plain
from xmem import InputError, MemoryConfig, segment_video
from xmem.engine.halves import FRAMES_AHEAD
from xmem.engine.masks import index_mask


@pytest.fixture
def clip(tmp_path):
    """A real H.264 file of 9 frames, 96x64 at 12 frames per second: a bright square that moves right."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for t in range(9):
            image = np.full((64, 96, 3), 40, np.uint8)
            image[20:44, 10 + 4 * t : 34 + 4 * t] = (230, 120, 60)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))
    return path


def square(ids=(1,)) -> np.ndarray:
    mask = np.zeros((64, 96), np.uint8)
    for k, i in enumerate(ids):
        mask[20:44, 10 + 40 * k : 34 + 40 * k] = i
    return mask


def decoded(path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_every_frame_gets_a_mask_and_a_place_in_the_overlay(clip, tmp_path, tiny_model):
    results = list(segment_video(clip, {0: square((2, 5))}, tmp_path / "out", model=tiny_model, size=None))
    assert [r.index for r in results] == list(range(9)) and results[0].frame_count == 9
    assert results[1].time == pytest.approx(1 / 12)
    assert decoded(tmp_path / "out/overlay.mp4") == 9
    for result in results:
        stored = np.array(Image.open(tmp_path / f"out/masks/{result.index:05d}.png"))
        assert np.array_equal(stored, result.mask) and set(np.unique(stored)) <= {0, 2, 5}
    assert np.array_equal(results[0].mask, square((2, 5)))


def test_stopping_early_leaves_valid_results(clip, tmp_path, tiny_model):
    run = segment_video(clip, {0: square()}, tmp_path / "out", model=tiny_model, size=None)
    for _ in range(4):
        next(run)
    run.close()
    assert decoded(tmp_path / "out/overlay.mp4") == 4
    assert len(list((tmp_path / "out/masks").iterdir())) == 4


def test_a_failure_on_the_way_leaves_what_was_done(clip, tmp_path, tiny_model, monkeypatch):
    from xmem import Propagator

    step, calls = Propagator.step, []

    def failing(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("out of memory")
        return step(self, *args, **kwargs)

    monkeypatch.setattr(Propagator, "step", failing)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(segment_video(clip, {0: square()}, tmp_path / "out", model=tiny_model, size=None))
    assert decoded(tmp_path / "out/overlay.mp4") == 3


def pictures(path) -> list[tuple[float, np.ndarray]]:
    """Seconds and uint8 [H, W, 3] of each frame."""
    with av.open(str(path)) as container:
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def test_stages_beside_one_another_give_what_one_after_the_other_gives(clip, tmp_path, tiny_model, monkeypatch):
    """Masks to the byte; the video as far as its encoder, which has threads of its own, gives the same twice."""
    given = {0: square((2, 5)), 4: square((3,))}
    beside = list(segment_video(clip, given, tmp_path / "beside", model=tiny_model, size=48))
    make_plain(monkeypatch)
    plain = list(segment_video(clip, given, tmp_path / "plain", model=tiny_model, size=48))
    assert len({result.mask.tobytes() for result in plain}) > 3, "the network must do something"
    for one, other in zip(beside, plain, strict=True):
        assert (one.index, one.time, one.name, one.frame_count) == (
            other.index,
            other.time,
            other.name,
            other.frame_count,
        )
        assert np.array_equal(one.mask, other.mask) and np.array_equal(one.overlay, other.overlay)
        name = f"masks/{one.name}.png"
        assert (tmp_path / "beside" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    shown = zip(pictures(tmp_path / "beside/overlay.mp4"), pictures(tmp_path / "plain/overlay.mp4"), strict=True)
    for (time, picture), (other_time, other_picture) in shown:
        assert time == other_time and np.abs(picture.astype(int) - other_picture).mean() < 0.5


def test_only_a_few_frames_are_read_before_they_are_asked_for(clip, tmp_path, tiny_model, monkeypatch):
    from xmem.video import decode

    converted, real = [], decode.to_rgb
    monkeypatch.setattr(decode, "to_rgb", lambda *a: converted.append(1) or real(*a))
    run = segment_video(clip, {0: square()}, tmp_path / "out", model=tiny_model, size=None)
    assert not converted
    for done in range(1, 4):
        next(run)
        assert done <= len(converted) <= done + 2 + FRAMES_AHEAD
    run.close()


def stages() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(("ahead", "behind"))]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are read from Linux's /proc")
def test_closing_it_early_ends_the_threads_and_frees_the_files(clip, tmp_path, tiny_model):
    run = segment_video(clip, {0: square()}, tmp_path / "out", model=tiny_model, size=None)
    assert next(run).overlay is not None
    assert len(stages()) == 3
    run.close()
    assert stages() == []
    targets = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert not [target for target in targets if target.startswith(str(tmp_path))]


@pytest.mark.parametrize(
    ("target", "frames"),
    [("xmem.video.decode.to_rgb", 4), ("xmem.engine.segment.tint", 4), ("xmem.video.writer.to_yuv420", 0)],
)
def test_what_goes_wrong_in_a_stage_reaches_the_caller_and_stops_the_others(
    clip, tmp_path, tiny_model, monkeypatch, target, frames
):
    """frames: of the overlay that are kept: those before the failure, none where the video itself cannot be written."""
    import importlib

    module, name = target.rsplit(".", 1)
    real, calls = getattr(importlib.import_module(module), name), []

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(target, failing)
    with pytest.raises(OSError, match="No space left") as caught:
        list(segment_video(clip, {0: square()}, tmp_path / "out", model=tiny_model, size=None))
    assert caught.value.errno == 28 and stages() == [] and len(calls) == 5
    overlay = tmp_path / "out/overlay.mp4"
    assert (decoded(overlay) if overlay.exists() else 0) == frames
    for mask in sorted((tmp_path / "out/masks").iterdir()):
        assert np.array(Image.open(mask)).shape == (64, 96)


def test_objects_may_arrive_on_any_frame_and_frames_before_are_background(clip, tmp_path, tiny_model):
    late = {3: square(), 6: square((1, 2))}
    results = list(segment_video(clip, late, tmp_path / "out", model=tiny_model, size=None))
    assert not results[2].mask.any()
    assert np.array_equal(results[3].mask, square())
    assert np.array_equal(results[6].mask, square((1, 2)))


def test_a_mask_file_is_read_at_the_videos_size(clip, tmp_path, tiny_model):
    Image.fromarray(square() * 255).resize((48, 32), Image.Resampling.NEAREST).save(tmp_path / "mask.png")
    first = next(segment_video(clip, {0: tmp_path / "mask.png"}, tmp_path / "out", model=tiny_model, size=None))
    assert np.array_equal(first.mask, square())


@pytest.mark.parametrize(
    ("masks", "settings", "sentence"),
    [
        ({}, {}, "No mask was given"),
        ({0: np.zeros((64, 96), np.uint8)}, {}, "empty"),
        ({12: square()}, {}, "frames are 0 to 8"),
        ({0: square()}, {"opacity": 2}, "opacity"),
        ({0: square()}, {"size": 4}, "too small"),
        ({0: square()}, {"model": "no-such-model"}, "no-such-model"),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_is_written(clip, tmp_path, tiny_model, masks, settings, sentence):
    with pytest.raises(InputError, match=sentence):
        list(segment_video(clip, masks, tmp_path / "out", **{"model": tiny_model, **settings}))
    assert not (tmp_path / "out").exists()


def test_settings_reach_the_memories(clip, tmp_path, tiny_model, monkeypatch):
    """With r = 1 and T_max = 3 nine frames consolidate several times."""
    import xmem.engine.segment

    engines = []
    make = xmem.engine.segment.Propagator
    monkeypatch.setattr(xmem.engine.segment, "Propagator", lambda *a: engines.append(make(*a)) or engines[-1])
    config = MemoryConfig(mem_every=1, min_working_frames=2, max_working_frames=3, prototypes=4, max_long_term=8)
    list(segment_video(clip, {0: square()}, tmp_path / "out", model=tiny_model, config=config, size=None))
    assert engines[0].memory.long_term_size == 8


def test_given_ids_are_exact_and_others_give_way():
    import torch

    prob = torch.zeros(3, 1, 4)
    prob[2] = 0.9  # object 7 everywhere
    prob[0] = 0.1
    given = np.array([[3, 3, 0, 0]], np.uint8)
    assert index_mask(prob, [3, 7], given).tolist() == [[3, 3, 7, 7]]
