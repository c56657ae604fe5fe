"""What each control does, called as plain functions on real files."""

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
from demo import canvas, events, tracking
from xmem.checkpoints import EMBEDDED
from xmem.video import first_frame, probe

DEFAULTS = {
    "opacity": 0.5,
    "mem_every": 3,
    "min_working_frames": 2,
    "max_working_frames": 3,
    "prototypes": 16,
    "max_long_term": 512,
    "top_k": 8,
    "deep_update_every": -1,
    "long_term": True,
}


def painting(width: int = 320, height: int = 180) -> dict:
    index = np.zeros((height, width), np.uint8)
    index[60:90, 40:120] = 1
    index[120:150, 200:260] = 2
    return canvas.from_index(np.zeros((height, width, 3), np.uint8), index)


def visitor(name: str = "visitor") -> SimpleNamespace:
    return SimpleNamespace(session_hash=name)


@pytest.fixture
def run(tiny_model, workspaces):
    """`events.track` with a tiny network at a small size, and its files copied as Gradio would."""

    def go(video, value, request=None, fill=False, model=None):
        settings = {"fill_outlines": fill, "model": model or str(tiny_model), "device": "cpu", "size": 64, **DEFAULTS}
        return events.track(str(video) if video else None, value, request=request or visitor(), **settings)

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
        assert names == [f"My-clip-1-masks/{i:05d}.png" for i in range(12)]
        first = np.array(Image.open(io.BytesIO(archive.read(names[0]))))
    np.testing.assert_array_equal(first, canvas.to_index(painting(), 320, 180))
    assert not list(workspaces.root.rglob("run-*")), "the run's folder is gone"


def test_stop_keeps_what_is_done_as_a_valid_result(run, clip, workspaces, monkeypatch, tmp_path):
    monkeypatch.setattr(tracking, "HEARTBEAT_SECONDS", 0.02)
    seen = 0
    for panel, video, archive in run(clip, painting()):
        if "Frame" in panel and not seen:
            seen = 1
            events.stop(visitor())
        if video:
            assert "Stopped" in panel and "of 12" in panel
            done = probe(video).frame_count
            assert 1 <= done < 12
            assert len(zipfile.ZipFile(archive).namelist()) == done
            break
    else:
        pytest.fail("no result came")


def test_stopping_before_the_first_frame_keeps_one(run, clip):
    events.stop(visitor())
    *_, (panel, video, _) = run(clip, painting())
    assert "Stopped after 1 of 12 frames" in panel and video


def test_one_visitors_stop_leaves_another_run_alone(run, clip):
    events.stop(visitor("other"))
    *_, (panel, _, _) = run(clip, painting())
    assert "Done: 12 frames" in panel


def test_closing_the_page_ends_the_run_and_removes_its_folder(run, clip, workspaces, monkeypatch):
    monkeypatch.setattr(tracking, "HEARTBEAT_SECONDS", 0.02)
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
    monkeypatch.setitem(DEFAULTS, "max_working_frames", 1)
    with pytest.raises(gr.Error, match="must be larger than"):
        list(run(clip, painting()))


def test_an_unexpected_failure_is_a_short_sentence_and_a_log_entry(run, clip, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError("secret detail")
        yield

    monkeypatch.setattr(events, "propagate", fail)
    with pytest.raises(gr.Error, match="Something went wrong") as error:
        list(run(clip, painting()))
    assert "secret" not in str(error.value) and "secret detail" in caplog.text


def test_outlines_are_filled_for_the_run(run, clip, tmp_path):
    index = np.zeros((180, 320), np.uint8)
    index[40:120, 40:120] = 1
    index[46:114, 46:114] = 0
    value = canvas.from_index(np.zeros((180, 320, 3), np.uint8), index)
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

    monkeypatch.setattr(events.checkpoints, "fetch", unreachable)
    monkeypatch.setattr(tracking, "MODELS", tracking.ModelCache())
    *_, (panel, video, _) = run(clip, painting(), model="XMem")
    assert "Done: 12 frames" in panel and "goes on with xmem-lite" in panel and video


def test_a_damaged_checkpoint_leaves_the_run_to_the_embedded_one(run, clip, tiny_model, monkeypatch, tmp_path):
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path))
    shutil.copy(tiny_model, tmp_path / "xmem-lite.safetensors")
    (tmp_path / "XMem.pth").write_bytes(b"<html>")
    monkeypatch.setattr(tracking, "MODELS", tracking.ModelCache())
    *_, (panel, _, _) = run(clip, painting(), model="XMem")
    assert "Done: 12 frames" in panel and "goes on with xmem-lite" in panel


def test_choosing_a_model_fetches_it_with_progress_and_then_says_that_it_works(monkeypatch, tmp_path):
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path))

    def fetch(name, url=None):
        for done in (50_000_000, 249_026_057):
            yield events.checkpoints.FetchProgress(done, 249_026_057)

    monkeypatch.setattr(events.checkpoints, "fetch", fetch)
    steps = list(events.choose_model("XMem", "cpu"))
    assert "249 of 249 MB" in steps[-2][1]
    assert "XMem on CPU" in steps[-1][2]


def test_choosing_a_model_that_cannot_be_fetched_goes_back_to_the_embedded_one(monkeypatch, tmp_path):
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path))

    def fetch(name, url=None):
        raise xmem.InputError("XMem cannot be fetched: the host answered 503.")
        yield

    monkeypatch.setattr(events.checkpoints, "fetch", fetch)
    choice, message, status = list(events.choose_model("XMem", "cpu"))[-1]
    assert choice["value"] == EMBEDDED and "503 – the page goes on with xmem-lite." in message
    assert "xmem-lite on CPU" in status


def test_which_models_are_at_hand_is_marked(monkeypatch, tmp_path):
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path))
    monkeypatch.delenv("XMEM_MODEL", raising=False)
    (tmp_path / "XMem-s2.pth").touch()
    (tmp_path / "mine.safetensors").touch()
    labels = {name: label for label, name in events.model_choices()}
    assert labels["XMem"] == "XMem · 249 MB to fetch"
    assert labels["XMem-s2"] == "XMem-s2 · at hand"
    assert labels["mine.safetensors"] == "mine · own file"


@pytest.mark.parametrize(
    ("device", "at_hand", "expected"), [("cpu", True, EMBEDDED), ("cuda", True, "XMem"), ("cuda", False, EMBEDDED)]
)
def test_the_first_model_depends_on_gpu_and_file(monkeypatch, tmp_path, device, at_hand, expected):
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path))
    monkeypatch.delenv("XMEM_MODEL", raising=False)
    monkeypatch.setattr(events, "device_choices", lambda: [(device, device)])
    if at_hand:
        (tmp_path / "XMem.pth").touch()
    assert events.default_model() == expected


def test_a_video_puts_its_first_frame_on_a_canvas_of_its_size(clip):
    editor, note, block = events.load_video(str(clip))
    assert editor["canvas_size"] == (320, 180) and editor["value"]["background"].shape == (180, 320, 3)
    assert "320×180, 12 frames, 25 frames/s" in note and block["visible"]


def test_a_bad_video_is_a_sentence(tmp_path):
    bad = tmp_path / "text.mp4"
    bad.write_text("not a video")
    _, note, block = events.load_video(str(bad))
    assert 'role="alert"' in note and not block["visible"]


def test_the_sample_comes_with_its_mask():
    video, editor, _, _ = events.load_sample()
    read = canvas.to_index(editor["value"], 640, 360)
    expected = np.array(Image.open(events.SAMPLE_MASK))
    np.testing.assert_array_equal(read, expected)
    assert first_frame(video).shape == (360, 640, 3)
    assert 0.05 < read.mean() < 0.2


def test_an_uploaded_mask_is_painted_and_its_holes_are_kept(clip, tmp_path):
    index = np.zeros((180, 320), np.uint8)
    index[40:120, 40:120] = 1
    index[60:100, 60:100] = 0
    path = tmp_path / "mask.png"
    Image.fromarray(index * 255).save(path)
    editor, fill, note = events.upload_mask(str(path), str(clip))
    np.testing.assert_array_equal(canvas.to_index(editor["value"], 320, 180), index)
    assert fill is False and "on the canvas" in note


@pytest.mark.parametrize("kind", ["empty", "text", "aspect"])
def test_a_bad_mask_is_a_sentence_and_leaves_the_painting(clip, tmp_path, kind):
    path = tmp_path / "mask.png"
    if kind == "text":
        path.write_text("no image")
    else:
        size = (320, 180) if kind == "empty" else (100, 100)
        Image.new("L", size, 0 if kind == "empty" else 255).save(path)
    editor, _, note = events.upload_mask(str(path), str(clip))
    assert 'role="alert"' in note and "value" not in editor


def test_a_mask_without_a_video_is_a_sentence(tmp_path):
    assert "no video yet" in events.upload_mask(str(tmp_path / "mask.png"), None)[2]


def test_what_is_painted_is_said_with_shares():
    html = events.read_painting(painting(), False)
    assert "2 objects: red 4.2 %, blue 3.1 %" in html and "<img" in html


def test_file_names_and_messages_cannot_carry_markup():
    from demo import panels

    assert "<script>" not in panels.message("<script>alert(1)</script>")
    assert "<b>" not in panels.failed("<b>")
