"""Every family in a session: settings of its own, stop and go on, corrections, figures, exports, bundles."""

import json
import re
from dataclasses import fields, replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from family_clips import boxes, made_up_frames
from reference_weights import family_state

from tests import tiny_cutie
from tests.video.clips import write_clip
from xmem import InputError, MemoryConfig, Session, TrackSettings, load_model
from xmem.export import export
from xmem.families import FAMILIES
from xmem.families.aot import AOTConfig
from xmem.families.stcn import STCNConfig
from xmem.networks.xmem import XMem, lite_sizes
from xmem.review import compare as compare_module
from xmem.review.compare import compare
from xmem.review.preflight import estimate
from xmem.session.project import read_project

COUNT = 7
GROWING = ("stcn", "stm", "aot")
NAMES = {"xmem": "XMem", "stcn": "STCN", "stm": "STM", "aot": "R50-AOTL", "cutie": "Cutie-base-mega"}
# Beside the released ones: something else of each family.
CHOSEN = {
    "xmem": {"mem_every": 2, "top_k": 9, "min_working_frames": 2, "max_working_frames": 3},
    "stcn": {"mem_every": 2, "max_memory_frames": 3},
    "stm": {"mem_every": 2, "max_memory_frames": 3, "channels": 4},
    "aot": {"mem_every": 2, "short_term_delay": 2},
    "cutie": {"mem_every": 2, "stagger_updates": 1},
}


@lru_cache(2)
def network(family):
    if family == "cutie":
        return load_model(tiny_cutie.tiny_state(), "cpu", winograd=False)
    if family == "xmem":
        torch.manual_seed(0)
        return XMem(lite_sizes()).eval().requires_grad_(False)
    return load_model(family_state(family), "cpu", winograd=False)


def settings(family, **others) -> TrackSettings:
    return TrackSettings(NAMES[family], size=None, memory=FAMILIES[family].chosen(CHOSEN[family]), **others)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", made_up_frames(COUNT), options={"crf": "8"})


def painted(clip, folder) -> Session:
    session = Session.create(clip, folder)
    session.set_key_frame(0, boxes(id_1=(4, 24, 4, 24), id_2=(20, 36, 30, 50)))
    return session


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_stops_goes_on_is_corrected_and_taken_away_as_xmem_is(family, clip, tmp_path):
    model, chosen = network(family), settings(family)
    whole = painted(clip, tmp_path / "whole")
    assert len(list(whole.propagate(chosen, model))) == COUNT

    session = painted(clip, tmp_path / "stopped")
    steps = session.propagate(chosen, model)
    for _ in range(3):
        next(steps)
    steps.close()
    session = Session.open(session.folder)  # as another process would
    assert session.settings == chosen and session.suspended() == 3
    assert len(list(session.propagate(model=model))) == COUNT - 3
    for frame in range(COUNT):
        assert np.array_equal(session.mask(frame), whole.mask(frame))
    assert {row.frame for row in session.stats()} == set(range(COUNT)) and session.suggestions()

    before = [session.mask(frame) for frame in range(4)]
    session.set_key_frame(4, np.roll(whole.mask(0), 4, (0, 1)))
    assert [(span.first, span.last) for span in session.pending()] == [(0, 3), (4, COUNT - 1)]
    list(session.propagate(model=model))
    assert not session.pending() and len(session.stats()) == 2 * COUNT
    session.undo()
    assert not session.pending()
    assert all(np.array_equal(session.mask(frame), mask) for frame, mask in enumerate(before))

    for _ in export("index_png", session, tmp_path, "masks"):
        pass
    bundle = session.save_bundle(tmp_path / "work.zip")
    again = Session.open_bundle(bundle, tmp_path / "again")
    assert again.settings.memory == chosen.memory
    assert np.array_equal(again.mask(COUNT - 1), session.mask(COUNT - 1))


def test_two_families_stand_side_by_side_with_where_they_differ(clip, tmp_path, monkeypatch):
    """The last third of the picture is red where the masks are not the same, but for the line around."""
    seen, draw = [], compare_module._Canvas.draw
    monkeypatch.setattr(compare_module._Canvas, "draw", lambda *a: seen.append((a[2], draw(*a))) or seen[-1][1])
    sides = [(NAMES[family], settings(family)) for family in ("xmem", "aot")]
    networks = {"XMem": "xmem", "R50-AOTL": "aot"}
    steps = compare(painted(clip, tmp_path / "work"), sides, tmp_path, lambda name, *_: network(networks[name]))
    with pytest.raises(StopIteration) as end:
        while True:
            next(steps)
    rows = end.value.value.rows
    assert [row.label for row in rows] == ["XMem", "R50-AOTL"] and rows[0].agreement == 1 > rows[1].agreement
    assert all(row.seconds > 0 and row.peak_bytes > 0 for row in rows)
    (left, right), picture = seen[-1]
    third = picture[-left.shape[0] :, -left.shape[1] :].astype(int)
    red = third[..., 0] - third[..., 1] > 30
    assert (red == (left != right)).mean() > 0.9 and red.any()


@pytest.mark.parametrize("family", FAMILIES)
def test_settings_of_every_family_are_named_for_people_and_kept_in_the_project(family, clip, tmp_path):
    record = FAMILIES[family]
    default = record.config()
    assert {setting.name for setting in record.settings} == {field.name for field in fields(record.config)}
    for setting in record.settings:
        assert setting.checked(getattr(default, setting.name)) == getattr(default, setting.name)
    assert record.chosen({}) == default and record.good_at and record.chosen(CHOSEN[family]) != default
    session = painted(clip, tmp_path / "work")
    session._change(replace(session._project, settings=settings(family)))
    assert read_project(tmp_path / "work" / "project.json").settings == settings(family)


def test_values_beyond_a_settings_limits_are_refused_in_a_sentence():
    stcn = FAMILIES["stcn"]
    assert stcn.chosen({"mem_every": 3.0, "max_memory_frames": None}) == STCNConfig(mem_every=3)
    with pytest.raises(InputError, match=r"STCN has no setting 'prototypes': choose among mem_every, top_k"):
        stcn.chosen({"prototypes": 128})
    for wrong in (0, 31, 2.5, "5", None, True, float("nan"), float("inf"), [5]):
        with pytest.raises(InputError, match="mem_every must be a whole number from 1 to 30, not"):
            stcn.chosen({"mem_every": wrong})
    with pytest.raises(InputError, match="from 2 to 1000, or null for 'all', not 1"):
        stcn.chosen({"max_memory_frames": 1})
    with pytest.raises(InputError, match="include_last must be true or false, not 1"):
        stcn.chosen({"include_last": 1})


def test_settings_of_another_family_are_refused_with_both_named(clip, tmp_path):
    session = painted(clip, tmp_path / "work")
    with pytest.raises(InputError, match="are a STCNConfig, and the model is of the family Cutie: give a CutieConfig"):
        list(session.propagate(settings("stcn"), network("cutie")))


@pytest.mark.parametrize(
    ("model", "memory", "expected"),
    [
        ("xmem-lite", MemoryConfig(mem_every=3), MemoryConfig(mem_every=3)),
        ("STCN", MemoryConfig(mem_every=3), None),  # it ran with its released ones
        ("own.safetensors", MemoryConfig(), MemoryConfig()),
    ],
)
def test_projects_from_before_settings_followed_the_family_open(clip, tmp_path, model, memory, expected):
    session = painted(clip, tmp_path / "work")
    session._change(replace(session._project, settings=TrackSettings(model, memory=memory)))
    path = tmp_path / "work" / "project.json"
    values = json.loads(path.read_text())
    assert values["settings"]["memory"].pop("family") == "xmem"
    path.write_text(json.dumps(values))
    assert Session.open(tmp_path / "work").settings == TrackSettings(model, memory=expected)


@pytest.mark.parametrize("memory", [{"family": "sam"}, {"family": "stcn", "prototypes": 3}, {"mem_every": "5"}, [5], 5])
def test_settings_of_no_family_are_refused(clip, tmp_path, memory):
    session = painted(clip, tmp_path / "work")
    path = tmp_path / "work" / "project.json"
    values = json.loads(path.read_text())
    values["settings"]["memory"] = memory
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"The project file is damaged \(settings\.memory: "):
        Session.open(session.folder)


def test_released_settings_are_the_same_however_they_are_given():
    """Also those of results from before settings followed the family, which named XMem's in any case."""
    released = TrackSettings("STCN").signature
    assert TrackSettings("STCN", memory=STCNConfig()).signature == released
    assert TrackSettings("STCN", memory=STCNConfig(mem_every=3)).signature != released
    assert TrackSettings("R50-AOTL", memory=AOTConfig(mem_every=3)).signature["memory"]["family"] == "aot"
    assert TrackSettings(memory=MemoryConfig(mem_every=3)).signature["memory"]["mem_every"] == 3
    assert released["memory"]["mem_every"] == 5


@pytest.mark.parametrize(
    ("model", "size", "interval"),
    [("xmem-lite", 384, 3), ("xmem-lite", 240, 5), ("xmem-lite", None, None), ("XMem", 384, 5), ("own.pth", 384, None)],
)
def test_results_are_of_the_interval_at_which_the_network_remembered(model, size, interval):
    """What was computed with every fifth frame is not gone on with where it is every third now; an own file's kind, and
    a video's size, are the same for all of a session's results."""
    signature = TrackSettings(model, size=size).signature
    assert signature["memory"]["mem_every"] == interval
    assert TrackSettings(model, size=size, memory=MemoryConfig()).signature == signature
    same = TrackSettings(model, size=size, memory=MemoryConfig(mem_every=interval or 5)).signature
    assert (same == signature) == (interval is not None)


@pytest.mark.parametrize("family", GROWING)
def test_the_estimate_says_how_fast_memory_grows_and_what_ends_that(family, clip):
    """Measured: a memory frame holds per position what the family's docstring says, in float32, every second frame."""
    endless = replace(settings(family), memory=replace(settings(family).memory, max_memory_frames=None))
    said = estimate(clip, endless, network(family), frames=2000, timed_frames=2).reason
    assert re.search(r"Memory grows by 0\.0\d+ MB with each frame, and reading it takes longer: a limit of", said)
    limited = replace(endless, memory=replace(endless.memory, max_memory_frames=10))
    assert "grows" not in estimate(clip, limited, network(family), frames=2000, timed_frames=2).reason
