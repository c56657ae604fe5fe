"""The tab Compare: two settings on the same clip, side by side, and what is said about the difference."""

import re
from dataclasses import replace

import gradio as gr
import pytest

from demo.tabs import common as tabs
from demo.tabs import compare
from demo.visit import studio
from tests.demo.tabs_visitor import FRAMES, MEMORY, last_of, make_session, own_workspaces, visit
from xmem import InputError
from xmem.review.compare import PRESETS, Variant
from xmem.session import TrackSettings
from xmem.video import probe

pytestmark = pytest.mark.usefixtures("listed")


@pytest.fixture(scope="module")
def tracked(clip, tiny_model, tmp_path_factory):
    return make_session(clip, tiny_model, tmp_path_factory.mktemp("compare") / "session")


@pytest.fixture
def spaces(tmp_path, monkeypatch):
    made = own_workspaces(tmp_path, monkeypatch)
    yield made
    made.close()


@pytest.fixture
def visitor(spaces, tracked):
    return visit(spaces, tracked)


def row(label="A", frames_per_second=10.0, peak_elements=1000, peak_bytes=10**6, agreement=1.0) -> Variant:
    return Variant(label, TrackSettings(), 9.0, frames_per_second, peak_elements, peak_bytes, 0.9, agreement)


def test_both_sides_come_as_a_table_of_two_rows_and_one_video(visitor, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr("demo.runs.follow.HEARTBEAT_SECONDS", 0.01)  # so that a quick run shows its progress, too
    kept = tmp_path / "kept"
    kept.mkdir()
    before = [studio.session_of(visitor).mask(i) for i in range(FRAMES)]
    model = str(tiny_model)
    steps, (_, report, video, file) = last_of(compare.show_sides("three", model, "no_sensory", model, visitor), kept)
    assert len(re.findall('<th scope="row">', report)) == 2 and "Sensory memory carries" in report
    assert video == file and video.name == "My-clip-1-comparison.mp4"
    info = probe(video)
    assert info.frame_count == FRAMES and info.width > 2 * 300
    assert any("progressbar" in panel for panel, *_ in steps[:-1])
    after = studio.session_of(visitor)
    assert all((after.mask(i) == mask).all() for i, mask in enumerate(before)), "the visitor's result stays"
    assert [path.name for path in studio.workspace_of(visitor).path.iterdir() if path.is_dir()] == ["session"]


def test_sizes_and_direction_are_those_of_the_latest_run(tiny_model):
    base = TrackSettings("mine", "cpu", 64, MEMORY, "forward")
    (_, left), (_, right) = compare.variants(base, ("own", "mine"), ("working", "other"))
    assert left == base
    assert right == replace(base, model="other", memory=PRESETS["working"].memory)


@pytest.mark.parametrize(
    ("sides", "labels"),
    [
        ((("three", "a.pth"), ("three", "b.pth")), ["a", "b"]),
        ((("three", "a.pth"), ("own", "a.pth")), [PRESETS["three"].label, "As in your latest run"]),
        ((("own", "a.pth"), ("three", "b.pth")), ["As in your latest run · a", f"{PRESETS['three'].label} · b"]),
    ],
)
def test_sides_are_named_by_what_differs(sides, labels):
    assert [label for label, _ in compare.variants(TrackSettings(memory=MEMORY), *sides)] == labels


def test_networks_of_two_families_are_compared_as_released_and_others_memories_refused():
    base = TrackSettings("mine", "cpu", 64, MEMORY)
    sides = compare.variants(base, ("released", "STCN"), ("released", "Cutie-base-mega"))
    assert [(label, one.memory) for label, one in sides] == [("STCN", None), ("Cutie-base-mega", None)]
    (_, left), (_, right) = compare.variants(base, ("own", "mine"), ("own", "R50-AOTL"))
    assert (left.memory, right.memory) == (MEMORY, None)
    with pytest.raises(InputError, match="STM is a network of STM, which has no such memories: choose 'The defaults"):
        compare.variants(base, ("working", "STM"), ("three", "mine"))


def test_two_equal_sides_are_a_sentence(visitor, tiny_model):
    with pytest.raises(InputError, match="Both sides are the same"):
        compare.variants(TrackSettings(), ("three", "a"), ("own", "a"))
    steps = compare.show_sides("three", "a", "three", "a", visitor)
    assert 'role="alert"' in next(steps)[0]
    with pytest.raises(gr.Error, match="choose another memory"):
        next(steps)


def test_a_model_that_cannot_be_had_is_a_sentence(visitor, tmp_path):
    steps = compare.show_sides("three", str(tmp_path / "none.pth"), "working", str(tmp_path / "none.pth"), visitor)
    with pytest.raises(gr.Error) as error:
        list(steps)
    assert "Something went wrong" not in str(error.value)


def test_stopping_gives_no_half_comparison(visitor, tiny_model, monkeypatch):
    monkeypatch.setattr("demo.runs.follow.HEARTBEAT_SECONDS", 0.01)
    workspace = studio.workspace_of(visitor)
    steps = compare.show_sides("three", str(tiny_model), "working", str(tiny_model), visitor)
    next(steps)
    tabs.stop_file(workspace, compare.NAME).touch()
    *_, (panel, report, _, _) = steps
    assert "Stopped" in panel and not isinstance(report, str)
    assert [path.name for path in workspace.path.iterdir() if path.is_dir()] == ["session"]
    assert not tabs.stop_file(workspace, compare.NAME).exists(), "the stop is not for the next one"


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (row(), row(frames_per_second=10.2), "both were equally fast, both held as much in memory"),
        (row(frames_per_second=20.0), row(agreement=0.97), "the left side was 2.0 times as fast"),
        (row(), row(peak_bytes=3 * 10**6, agreement=0.85), "the right side held 3.0 times as much in memory"),
        (row(), row(agreement=0.97), "nearly the same (97 % overlap)"),
        (row(), row(agreement=0.85), "differ a little (85 % overlap)"),
        (row(), row(agreement=0.5), "differ clearly, so that a look at the video tells which is right (50 % overlap)"),
    ],
)
def test_the_verdict_is_one_sentence_of_speed_memory_and_likeness(left, right, expected):
    said = compare.verdict(left, right, "")
    assert expected.lower() in said.lower() and said.count(". ") == 0 and said[0].isupper() and said.endswith(".")


def test_a_preset_against_the_complete_one_is_explained():
    assert compare.meaning("three", "working") == compare.meaning("working", "three") == compare.MEANINGS["working"]
    assert compare.meaning("working", "no_sensory") == compare.meaning("three", "three") == ""
    assert set(compare.MEANINGS) == set(PRESETS) - {"three"}


def test_a_clip_too_short_for_a_difference_is_said_to_be():
    assert "too short" in compare.verdict(row(), row(peak_bytes=9), compare.MEANINGS["working"])


def test_labels_cannot_carry_markup():
    assert "<b>" not in compare.report_html([row("<b>"), row("<b>")], "")


def test_programs_get_both_sides_as_plain_values(visitor, tiny_model):
    model = str(tiny_model)
    ((found, video),) = compare.compare_sides("three", model, "given", model, visitor)
    assert [side["label"] for side in found["sides"]] == [PRESETS["three"].label, PRESETS["given"].label]
    assert set(found["sides"][0]) > {"seconds", "frames_per_second", "peak_elements", "peak_bytes", "certainty"}
    assert found["verdict"].startswith(compare.MEANINGS["given"]) and video.endswith("My-clip-1-comparison.mp4")
