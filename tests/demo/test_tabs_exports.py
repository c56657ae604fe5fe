"""The tab Export: chosen kinds of files, made one after the other, stopped, or all in one bundle."""

import csv
import json
import time
import zipfile

import av
import gradio as gr
import pytest

from demo.tabs import common as tabs
from demo.tabs import exports
from demo.visit import studio
from tests.demo.tabs_visitor import FRAMES, last_of, make_session, own_workspaces, visit
from xmem.export import EXPORTS
from xmem.session import Session


@pytest.fixture(scope="module")
def tracked(clip, tiny_model, tmp_path_factory):
    return make_session(clip, tiny_model, tmp_path_factory.mktemp("exports") / "session")


@pytest.fixture
def spaces(tmp_path, monkeypatch):
    made = own_workspaces(tmp_path, monkeypatch)
    yield made
    made.close()


@pytest.fixture
def visitor(spaces, tracked):
    return visit(spaces, tracked)


def test_every_kind_has_a_card_that_says_who_needs_it():
    assert set(exports.FOR) == set(EXPORTS)
    assert all(text.startswith("For ") or text.startswith("To ") for text in exports.FOR.values())


def test_several_kinds_come_as_files_named_after_the_upload(visitor, tmp_path, monkeypatch):
    monkeypatch.setattr("demo.runs.follow.HEARTBEAT_SECONDS", 0.01)
    kept = tmp_path / "kept"
    kept.mkdir()
    steps, (panel, files) = last_of(exports.export_files(["webm_alpha", "csv"], visitor), kept)
    assert "2 files ready" in panel
    assert [file.name for file in files] == ["My-clip-1-cutout.webm", "My-clip-1-objects.csv"]
    with av.open(str(files[0])) as video:
        assert video.streams.video[0].codec_context.name.startswith("vp9") or "vp9" in video.streams.video[0].codec.name
        assert sum(1 for _ in video.decode(video=0)) == FRAMES
    with files[1].open(newline="", encoding="utf-8") as table:
        assert len({row["frame"] for row in csv.DictReader(table)}) == FRAMES
    assert any("Transparent video" in panel for panel, _ in steps[:-1])


def test_progress_goes_from_kind_to_kind_as_one_bar(visitor, tmp_path):
    session = studio.session_of(visitor)
    steps = list(exports.make(session, ["index_png", "csv"], tmp_path))
    shares = [step.before + (step.share * step.latest.done / step.latest.total if step.latest else 0) for step in steps]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == pytest.approx(1)
    assert not steps[0].files and len(steps[-1].files) == 2


def test_stopping_keeps_the_files_that_are_finished(visitor, tmp_path, monkeypatch):
    stop = tabs.stop_file(studio.workspace_of(visitor), exports.NAME)
    real = exports.make

    def stopped_after_the_first(*given, **named):
        for step in real(*given, **named):
            if len(step.files) == 1:
                stop.touch()
                time.sleep(0.2)  # while the page looks at it
            yield step
        return step

    monkeypatch.setattr(exports, "make", stopped_after_the_first)
    monkeypatch.setattr("demo.runs.follow.HEARTBEAT_SECONDS", 0.01)
    _, (panel, files) = last_of(exports.export_files(["csv", "webm_alpha", "gif"], visitor), tmp_path)
    assert "Stopped: 1 of 3 files" in panel
    assert [file.name for file in files] == ["My-clip-1-objects.csv"]


def test_a_stop_is_for_what_it_stopped_and_not_for_the_next(visitor):
    tabs.stop_file(studio.workspace_of(visitor), exports.NAME).touch()
    assert not list(exports.export_kinds(["csv"], visitor))
    assert len(list(exports.export_kinds(["csv"], visitor))) == 1


def test_the_bundle_holds_the_chosen_files_and_resumes_the_work(visitor, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    _, (panel, (bundle,)) = last_of(exports.bundle_files(["csv"], visitor), kept)
    assert bundle.name == "My-clip-1-project.zip" and "1 file ready" in panel
    with zipfile.ZipFile(bundle) as archive:
        names = archive.namelist()
        project = json.loads(archive.read(next(name for name in names if name.endswith("project.json"))))
    assert any(name.endswith("My-clip-1-objects.csv") for name in names) and project["name"] == "My clip (1)"
    resumed = Session.open_bundle(bundle, tmp_path / "resumed")
    before = studio.session_of(visitor)
    assert all((resumed.mask(i) == before.mask(i)).all() for i in range(FRAMES))
    assert resumed.objects == before.objects and resumed.key_frames == before.key_frames


def test_nothing_chosen_is_a_sentence(visitor):
    steps = exports.export_files([], visitor)
    assert "choose at least one" in next(steps)[0]
    with pytest.raises(gr.Error, match="choose at least one"):
        next(steps)


def test_frames_that_were_not_tracked_are_mentioned(visitor, tmp_path):
    with studio.editing(visitor) as session:
        session.set_trim(0, FRAMES - 1)
        for owner in session.folder.glob("spans/*/masks/0001?.png"):
            owner.unlink()
    _, (panel, _) = last_of(exports.export_files(["csv"], visitor), tmp_path)
    assert "2 frames were not tracked yet" in panel


def test_no_file_stays_behind_on_disk(visitor, tmp_path):
    last_of(exports.export_files(["csv"], visitor), tmp_path)
    left = [path.name for path in studio.workspace_of(visitor).path.iterdir() if path.is_dir()]
    assert left == ["session"]


def test_programs_get_plain_files(visitor):
    assert [[path.rsplit("/", 1)[1] for path in files] for files in exports.export_kinds(["csv"], visitor)] == [
        ["My-clip-1-objects.csv"]
    ]
    assert [path.rsplit("/", 1)[1] for path in exports.save_bundle([], visitor)] == ["My-clip-1-project.zip"]
