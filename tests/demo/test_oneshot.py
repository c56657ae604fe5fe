"""`track`, the endpoint for one call, called as a plain function on real files."""

import io
import shutil
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

import xmem
from demo.runs import oneshot
from demo.runs import track as track_events
from demo.runs.models import ModelCache
from demo.visit import canvas
from xmem.video import probe

MEMORY = {"mem_every": 3, "min_working_frames": 2, "max_working_frames": 3, "prototypes": 16, "top_k": 8}


def painting(width: int = 320, height: int = 180) -> dict:
    index = np.zeros((height, width), np.uint8)
    index[60:90, 40:120] = 1
    index[120:150, 200:260] = 2
    return value_of(index)


def value_of(index: np.ndarray) -> dict:
    """An editor's value with a painting."""
    layer = np.zeros((*index.shape, 4), np.uint8)
    layer[index > 0, :3] = canvas.COLOURS[index[index > 0].astype(int) - 1]
    layer[index > 0, 3] = 255
    return {"background": None, "layers": [layer], "composite": None}


def request_of(name: str = "visitor") -> SimpleNamespace:
    return SimpleNamespace(session_hash=name)


@pytest.fixture
def run(listed, workspaces):
    """`track` with a tiny network at a small size, and its files copied as Gradio would."""

    def go(video, value, request=None, fill=False, model=None):
        settings = {
            "fill_outlines": fill,
            "model": model or listed,
            "device": "cpu",
            "size": 64,
            "opacity": 0.5,
            "memory": MEMORY,
        }
        return oneshot.track(str(video) if video else None, value, request=request or request_of(), **settings)

    return go


def test_a_run_reports_frames_and_ends_with_both_files_named_after_the_video(run, clip, tmp_path, workspaces):
    kept = tmp_path / "kept"
    kept.mkdir()
    panels = []
    for panel, video, archive in run(clip, painting()):
        panels.append(panel)
        if video:
            files = [Path(shutil.copy(path, kept)) for path in (video, archive)]
    assert [file.name for file in files] == ["My-clip-1-overlay.mp4", "My-clip-1-masks.zip"]
    assert "Done: 12 frames" in panels[-1]
    assert any("of 12" in panel for panel in panels[:-1])
    assert probe(files[0]).frame_count == 12
    with zipfile.ZipFile(files[1]) as archive:
        names = archive.namelist()
        assert names == [f"{i:05d}.png" for i in range(12)]
        first = np.array(Image.open(io.BytesIO(archive.read(names[0]))))
    np.testing.assert_array_equal(first, canvas.of_painting(painting(), 320, 180))
    assert not list(workspaces.root.rglob("run-*")), "the run's folder is gone"


def test_stop_keeps_what_is_done_as_a_valid_result(run, clip, workspaces, monkeypatch, tmp_path):
    monkeypatch.setattr("demo.runs.follow.HEARTBEAT_SECONDS", 0.02)
    seen = 0
    for panel, video, archive in run(clip, painting()):
        if "Frame" in panel and not seen:
            seen = 1
            track_events.stop(request_of())
        if video:
            assert "Stopped" in panel and "of 12" in panel
            done = probe(video).frame_count
            assert 1 <= done < 12
            assert len(zipfile.ZipFile(archive).namelist()) == done
            break
    else:
        pytest.fail("no result came")


def test_stopping_before_the_first_frame_keeps_one(run, clip):
    track_events.stop(request_of())
    *_, (panel, video, _) = run(clip, painting())
    assert "Stopped after 1 of 12 frames" in panel and video


def test_one_visitors_stop_leaves_another_run_alone(run, clip):
    track_events.stop(request_of("other"))
    *_, (panel, _, _) = run(clip, painting())
    assert "Done: 12 frames" in panel


def test_closing_the_page_ends_the_run_and_removes_its_folder(run, clip, workspaces, monkeypatch):
    monkeypatch.setattr("demo.runs.follow.HEARTBEAT_SECONDS", 0.02)
    steps = run(clip, painting())
    while "Frame" not in next(steps)[0]:
        pass
    assert list(workspaces.root.rglob("run-*"))
    steps.close()
    assert not list(workspaces.root.rglob("run-*"))
    assert not [thread for thread in threading.enumerate() if thread.name == "run"]


@pytest.mark.parametrize(
    ("video", "value", "sentence"),
    [
        (False, painting(), "There is no video yet"),
        (True, None, "Nothing is painted yet"),
        (True, {"background": None, "layers": [], "composite": None}, "Nothing is painted yet"),
        (True, painting(160, 90), "load the video again"),
    ],
)
def test_what_is_missing_is_said_in_a_sentence_on_the_page_and_to_the_api(run, clip, video, value, sentence):
    steps = run(clip if video else None, value)
    panel, overlay, archive = next(steps)
    assert sentence in panel and 'role="alert"' in panel and overlay is archive is None
    with pytest.raises(gr.Error, match=sentence):
        next(steps)


def test_settings_that_cannot_work_are_said_in_a_sentence(run, clip, monkeypatch):
    monkeypatch.setitem(MEMORY, "max_working_frames", 2)
    with pytest.raises(gr.Error, match="must be larger than"):
        list(run(clip, painting()))


def test_an_unexpected_failure_is_a_short_sentence_and_a_log_entry(run, clip, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError("secret detail")
        yield

    monkeypatch.setattr(track_events, "propagate_session", fail)
    with pytest.raises(gr.Error, match="Something went wrong") as error:
        list(run(clip, painting()))
    assert "secret" not in str(error.value) and "secret detail" in caplog.text


def test_outlines_are_filled_for_the_run(run, clip, tmp_path):
    index = np.zeros((180, 320), np.uint8)
    index[40:120, 40:120] = 1
    index[46:114, 46:114] = 0
    value = value_of(index)
    *_, (_, _, archive_path) = copied(run(clip, value, fill=True), tmp_path)
    with zipfile.ZipFile(archive_path) as archive:
        first = np.array(Image.open(io.BytesIO(archive.read(archive.namelist()[0]))))
    assert first[80, 80] == 1


def copied(steps, folder):
    for panel, video, archive in steps:
        yield panel, video, shutil.copy(archive, folder) if archive else None


def test_a_model_that_cannot_be_fetched_leaves_the_run_to_the_embedded_one(
    run, clip, tiny_model, monkeypatch, tmp_path
):
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path))
    shutil.copy(tiny_model, tmp_path / "xmem-lite.safetensors")

    def unreachable(name, url=None):
        raise xmem.InputError("XMem cannot be fetched, because its host cannot be reached.")
        yield

    monkeypatch.setattr("xmem.checkpoints.load.fetch", unreachable)
    monkeypatch.setattr("demo.runs.models.MODELS", ModelCache())
    *_, (panel, video, _) = run(clip, painting(), model="XMem")
    assert "Done: 12 frames" in panel and "goes on with xmem-lite" in panel and video


def test_a_damaged_checkpoint_leaves_the_run_to_the_embedded_one(run, clip, tiny_model, monkeypatch, tmp_path):
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path))
    shutil.copy(tiny_model, tmp_path / "xmem-lite.safetensors")
    (tmp_path / "XMem.pth").write_bytes(b"<html>")
    monkeypatch.setattr("demo.runs.models.MODELS", ModelCache())
    *_, (panel, _, _) = run(clip, painting(), model="XMem")
    assert "Done: 12 frames" in panel and "goes on with xmem-lite" in panel
