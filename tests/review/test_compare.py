"""The same key frames under two settings: figures that are right, a video that plays, and a session left alone."""

import itertools
from dataclasses import replace

import av
import numpy as np
import pytest

from tests.session.scene import COUNT, HEIGHT, SETTINGS, WIDTH, images, square
from tests.video.clips import write_clip
from xmem import InputError, MemoryConfig, Session
from xmem.checkpoints import load_model
from xmem.review import compare as module
from xmem.review.compare import PRESETS, Comparison, compare

FORGETFUL = replace(SETTINGS, memory=PRESETS["given"].memory)


@pytest.fixture(scope="module")
def network():
    return load_model("xmem-lite", "cpu")


@pytest.fixture
def session(tmp_path):
    clip = write_clip(tmp_path / "a clip.mp4", images(), options={"crf": "8"}, audio="aac")
    session = Session.create(clip, tmp_path / "work")
    session.set_key_frame(0, square(0))
    return session


def run(session, variants, folder, network) -> tuple[list, Comparison]:
    steps, progress = compare(session, variants, folder, load=lambda *_: network), []
    while True:
        try:
            progress.append(next(steps))
        except StopIteration as end:
            return progress, end.value


def frames_of(path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_two_settings_are_run_measured_and_shown_side_by_side(session, network, tmp_path):
    progress, result = run(session, [("All memories", SETTINGS), ("Forgetful", FORGETFUL)], tmp_path / "out", network)
    first, second = result.rows
    assert [row.label for row in result.rows] == ["All memories", "Forgetful"]
    assert first.settings == SETTINGS and second.settings == FORGETFUL
    assert first.agreement == 1 and 0 < second.agreement < 1
    assert first.peak_elements > second.peak_elements > 0  # the second remembers its key frame alone
    assert first.peak_bytes > second.peak_bytes > 0
    assert all(0 < row.certainty <= 1 and row.seconds > 0 and row.frames_per_second > 0 for row in result.rows)
    assert progress[-1].done == progress[-1].total == 3 * COUNT
    assert [step.done for step in progress] == list(range(1, 3 * COUNT + 1))
    assert {step.label for step in progress} == {"All memories", "Forgetful", ""}
    shown = frames_of(result.video)
    assert len(shown) == COUNT
    assert shown[0].shape[1] >= 2 * WIDTH and shown[0].shape[0] > HEIGHT


def test_each_side_shows_the_masks_of_its_own_setting(session, network, tmp_path, monkeypatch):
    shown = []
    draw = module._Canvas.draw
    monkeypatch.setattr(module._Canvas, "draw", lambda *a: shown.append(a[2]) or draw(*a))
    run(session, [("a", SETTINGS), ("b", FORGETFUL)], tmp_path / "out", network)
    for place, settings in enumerate((SETTINGS, FORGETFUL)):
        alone = Session.create(session.video, tmp_path / f"alone-{place}")
        alone.set_key_frame(0, square(0))
        list(alone.propagate(settings, network))
        assert all(np.array_equal(masks[place], alone.mask(n)) for n, masks in enumerate(shown))


def test_the_session_keeps_its_own_results_and_nothing_is_left_beside_the_video(session, network, tmp_path):
    list(session.propagate(SETTINGS, network))
    before = {path: path.read_bytes() for path in session.folder.rglob("*") if path.is_file()}
    _, result = run(session, [("a", FORGETFUL), ("b", SETTINGS)], tmp_path / "out", network)
    assert {path: path.read_bytes() for path in session.folder.rglob("*") if path.is_file()} == before
    assert list((tmp_path / "out").iterdir()) == [result.video]


def test_several_key_frames_colours_trim_and_a_deleted_object_are_taken_along(session, network, tmp_path):
    two = square(0)
    two[:8, :8] = 2
    session.set_key_frame(0, two)
    session.set_key_frame(6, square(6))
    session.remove_object(2)
    session.update_object(1, color=4)
    session.set_trim(2, 9)
    sibling = module._sibling(session, tmp_path / "sibling", SETTINGS)
    assert [(item.id, item.color) for item in sibling.objects] == [(1, 4)]
    assert [key.frame for key in sibling.key_frames] == [0, 6]
    assert (sibling.first, sibling.last) == (2, 9)
    assert np.array_equal(sibling.mask(6), session.mask(6))
    _, result = run(session, [("a", SETTINGS), ("b", SETTINGS)], tmp_path / "out", network)
    assert result.rows[1].agreement == 1
    assert len(frames_of(result.video)) == 8


def test_a_run_stopped_midway_leaves_nothing_behind(session, network, tmp_path):
    steps = compare(session, [("a", SETTINGS), ("b", FORGETFUL)], tmp_path / "out", load=lambda *_: network)
    next(steps)
    assert any((tmp_path / "out").iterdir())
    steps.close()
    assert not any((tmp_path / "out").iterdir())


def test_time_that_the_caller_takes_between_frames_is_not_counted(session, network, tmp_path, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))  # a second passes from look to look
    steps = compare(session, [("a", SETTINGS), ("b", SETTINGS)], tmp_path / "out", load=lambda *_: network)
    try:
        while True:
            next(steps)
            for _ in range(1000):
                next(clock)
    except StopIteration as end:
        assert [(row.seconds, row.frames_per_second) for row in end.value.rows] == [(COUNT, 1), (COUNT, 1)]


def test_there_must_be_two_settings_and_something_painted(session, network, tmp_path):
    with pytest.raises(InputError, match="choose two"):
        run(session, [("a", SETTINGS)], tmp_path / "out", network)
    session.remove_key_frame(0)
    with pytest.raises(InputError, match="paint the object"):
        run(session, [("a", SETTINGS), ("b", SETTINGS)], tmp_path / "out", network)


def test_labels_are_drawn_and_long_ones_stay_within_their_side():
    for label in ("Short", "A label that is much too long for its side unless it is drawn small " * 2):
        strip = module._strip(label, 640, 40)
        ink = np.flatnonzero((strip > 128).any(axis=(0, 2)))
        assert strip.shape == (40, 640, 3) and len(ink) > 10
    wide = module._strip("Working memory only, without limit (as STM and STCN)", 640, 40)
    ink = np.flatnonzero((wide > 128).any(axis=(0, 2)))
    assert ink[0] > 5 and ink[-1] < 634
    assert len(np.unique(wide)) > 20  # smooth edges


def test_wide_videos_are_reduced_and_small_ones_never_enlarged():
    assert module._Canvas(["a", "b"], 1920, 1080)._size == (634, 357)
    assert module._Canvas(["a", "b"], 320, 240)._size == (320, 240)
    image, mask = np.zeros((1080, 1920, 3), np.uint8), np.zeros((1080, 1920), np.uint8)
    drawn = module._Canvas(["a", "b"], 1920, 1080).draw(image, [mask, mask], {})
    assert drawn.shape[1] <= module.MAX_WIDTH


def test_presets_name_the_memories_of_xmem():
    assert PRESETS["three"].memory == MemoryConfig()
    assert not PRESETS["working"].memory.long_term
    assert not PRESETS["no_sensory"].memory.sensory
