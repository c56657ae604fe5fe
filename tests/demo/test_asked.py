"""What programs may ask for, and in which words everything else is refused."""

import os
import re
import stat
from contextlib import suppress
from pathlib import Path

import gradio as gr
import PIL.EpsImagePlugin
import pytest
from gradio import processing_utils
from gradio.components.image_editor import EditorData
from gradio.data_classes import FileData, ImageData
from PIL import Image

from demo import api
from demo.page import build_demo
from demo.runs import models, settings
from demo.stage import paint, video
from demo.tabs import quality
from demo.visit import asked
from demo.visit.asked import of_kind, uploaded, whole
from tests.hostile import MEGABYTE, memory_rise, png
from xmem import InputError

ODD = (None, "x", "", [], {}, [1], float("inf"), float("-inf"), float("nan"), 1.5, 10**30, -(10**30), object())


@pytest.mark.parametrize("value", [v for v in ODD if v != []])
def test_a_whole_number_is_a_whole_number(value):
    with pytest.raises(InputError, match=r"^frame "):
        of_kind(_plain)(value, request=None)
    with pytest.raises(InputError, match=r"^frame "):
        list(of_kind(_steps)(value))
    with pytest.raises(InputError, match=r"^frame "):
        whole(value, "frame", 0, 100)


def _plain(frame: int, request: gr.Request, size: int = -1, name: str | None = None, on: bool = False) -> tuple:
    return frame, size, name, on


def _steps(frame: int) -> list:
    yield frame


def test_what_is_of_its_kind_arrives_as_it_is():
    call = of_kind(_plain)
    assert call(3, request=None) == (3, -1, None, False)
    assert call(3.0, None, 5, "cat", True) == (3, 5, "cat", True)
    assert list(of_kind(_steps)(0)) == [0]
    assert [whole(v, "n", 1, 3) for v in (1, 2.0, 3)] == [1, 2, 3]
    for value in (0, 4):
        with pytest.raises(InputError, match="n must be from 1 to 3"):
            whole(value, "n", 1, 3)


def test_texts_and_lists_have_an_end():
    with pytest.raises(InputError, match="name must be"):
        of_kind(_plain)(3, None, name="x" * 1001)

    def draw(points: list[list[float]]) -> None:
        raise AssertionError

    for points in ([[0, 0]] * 10_001, [[0, None]], [["a", 0]], [0], None, [[float("inf"), 0]]):
        with pytest.raises(InputError, match="points"):
            of_kind(draw)(points)


@pytest.mark.parametrize("name", [f.__name__ for f in (*api.PLAIN, api.propagate)])
def test_every_endpoint_refuses_odd_arguments_in_a_sentence(visitor, session, name):
    """At each parameter in turn, the others as they are by default or plausible."""
    function = of_kind(getattr(api, name))
    likely = {"first": 0, "last": 3, "frame": 0, "object": 1, "points": [[0, 0], [9, 0], [9, 9]], "seconds": 0.1}
    likely |= {"grow": 0, "fill_holes": False, "drop_specks": False}
    parameters = [each for each in asked.inspect.signature(function).parameters if each != "request"]
    given = {each: likely[each] for each in parameters if each in likely}
    for each in parameters:
        for value in ODD:
            if (each in ("name", "color", "visible") and value is None) or (each == "points" and value == []):
                continue
            if each in ("name", "model", "direction") and isinstance(value, (str, bytes)):
                continue
            try:
                answer = function(**(given | {each: value}), request=visitor)
                list(answer) if name == "propagate" else answer
            except InputError as error:
                assert str(error).endswith(".") and "\n" not in str(error)
            else:
                if each == "memory":
                    assert value in (None, {}), f"{value!r} was taken"  # the released ones
                    continue
                assert each == "seconds" and abs(value) <= 10**30, f"{each}={value!r} was taken"  # the nearest frame


@pytest.mark.parametrize("size", [1, 15, 721, 5000, 2.5, -5, None, float("inf"), "big"])
def test_sizes_are_those_of_the_page_by_every_way(visitor, session, chosen, size):
    """A run of 5000 pixels on a small clip takes 8 GB."""
    ways = (
        lambda: settings.read(*chosen[:2], size, *chosen[3:]),
        lambda: of_kind(api.estimate)(request=visitor, size=size),
        lambda: list(of_kind(api.propagate)(request=visitor, size=size)),
    )
    for way in ways:
        with pytest.raises(InputError, match="size"):
            way()


@pytest.mark.parametrize("size", [16, 64, 720, 0])
def test_sizes_within_the_limits_are_taken(chosen, size):
    assert settings.read(*chosen[:2], size, *chosen[3:]).size == (size or None)


def test_memories_are_those_of_the_page(chosen):
    for setting in models.family(chosen[0]).settings:
        beyond = () if setting.is_flag else (setting.low - 1, setting.high + 1)
        for value in (*beyond, *([] if setting.none else [None]), "x", float("inf")):
            with pytest.raises(InputError, match=f"{setting.name} must be"):
                settings.read(*chosen[:3], {setting.name: value})
    for wrong in ([1], "x", 5, {"no_such": 1}):
        with pytest.raises(InputError, match=r"memory settings must be|has no setting 'no_such'"):
            settings.read(*chosen[:3], wrong)


def test_models_are_those_that_are_listed(chosen, tmp_path, visitor, session):
    """Neither any file of the server, nor one that was uploaded."""
    (tmp_path / "weights.pth").write_bytes(b"x")
    for name in (str(tmp_path / "weights.pth"), "/etc/passwd", "no-such-model", "", None, 5):
        with pytest.raises(InputError, match="There is no model of that name"):
            settings.read(name, *chosen[1:])
    with pytest.raises(InputError, match="There is no model of that name"):
        of_kind(api.estimate)(request=visitor, model="/etc/passwd")
    for device in ("tpu", "/dev/null", None):
        with pytest.raises(InputError, match="There is no device of that name"):
            settings.read(chosen[0], device, *chosen[2:])


def test_a_folder_or_a_link_is_no_upload(tmp_path, clip, visitor, session):
    """A folder of the uploads would list what others have uploaded."""
    folder = tmp_path / "uploads"
    (folder / "secret-folder").mkdir(parents=True)
    link = tmp_path / "link.mp4"
    link.symlink_to(clip)
    os.mkfifo(tmp_path / "pipe")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    ways = (
        lambda path: uploaded(path, visitor),
        lambda path: api.open_video(path, visitor),
        lambda path: api.open_bundle(path, visitor),
        lambda path: api.set_key_frame(0, path, visitor),
        lambda path: list(quality._scored(session, path, visitor)),
    )
    for path in (folder, link, tmp_path / "pipe", tmp_path / "missing", None, ""):
        for way in ways:
            with pytest.raises(InputError) as refusal:
                way(path and str(path))
            assert "secret" not in str(refusal.value) and str(tmp_path) not in str(refusal.value)
    assert uploaded(str(clip), visitor) == clip
    assert "no file" in paint.upload_mask(str(folder), 0, visitor)[0]["note"]
    assert "no file" in video.load(str(folder), visitor)[2]


def test_no_program_is_started_for_a_file(tmp_path, monkeypatch):
    """Gradio and Pillow look for FFmpeg and Ghostscript on the PATH; once the page is built, they find none."""
    for name in ("ffmpeg", "ffprobe", "gs"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'started'}-{name}\nexit 1\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(processing_utils, "ffmpeg_installed", lambda: True)
    monkeypatch.setattr(PIL.EpsImagePlugin, "gs_binary", "gs")
    video, picture = tmp_path / "video.mkv", tmp_path / "picture.png"
    video.write_bytes(b"x")
    Image.new("RGB", (8, 8)).save(picture, format="EPS")

    def show() -> None:
        gr.Video().postprocess(str(video))
        with suppress(Exception):
            gr.Image(type="numpy").preprocess(ImageData(path=str(picture), orig_name="picture.png"))

    show()
    assert {path.name for path in tmp_path.glob("started-*")} >= {"started-ffprobe", "started-gs"}, "the control"
    for path in tmp_path.glob("started-*"):
        path.unlink()
    build_demo()
    show()
    assert not list(tmp_path.glob("started-*"))


@pytest.mark.filterwarnings("ignore:Image size")
def test_gradio_opens_no_picture_that_is_given_and_keeps_none(tmp_path, monkeypatch):
    """Its own components for pictures do open them, and its editor keeps whatever anybody sends, without end. Should
    another one come, then huge images are refused by their header."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    page, _ = build_demo()
    path = png(tmp_path / "huge.png", 13_000, 13_000)
    inputs = {block for event in page.fns.values() for block in event.inputs}
    with monkeypatch.context() as patched:
        patched.setattr(Image, "open", lambda *_args, **_named: pytest.fail("a picture was opened"))
        for block in inputs:
            if isinstance(block, gr.Image):
                assert block.preprocess(ImageData(path=str(path), orig_name="huge.png")) == str(path)
            if isinstance(block, gr.ImageEditor):
                given = EditorData(background=None, layers=[FileData(path=str(path))], composite=None)
                assert block.preprocess(given)["layers"] == [str(path)] and not block.server_fns
    assert {type(block).__name__ for block in inputs} >= {"GivenImage", "GivenPainting"}

    def attempt() -> None:
        with pytest.raises(Image.DecompressionBombError):
            gr.Image(type="numpy").preprocess(ImageData(path=str(path), orig_name="huge.png"))

    assert memory_rise(attempt) < 40 * MEGABYTE


def test_no_sentence_names_a_path_of_the_server():
    """In the rooms that a page's event may come through; a file's own name is what its visitor gave it."""
    root = Path(api.__file__).parents[1]
    rooms = ["demo", *(f"xmem/{room}" for room in ("video", "render", "session", "review", "export", "checkpoints"))]
    files = [path for room in rooms for path in (root / room).rglob("*.py")] + [root / "xmem/scoring/quality.py"]
    sentence = re.compile(r"InputError\((?:[^()]|\([^()]*\))*\)")
    whole_path = re.compile(r"\{(?:str\()?(?:self\.)?_?(?:path|folder|source|bundle|truth|target|root)\)?(?:![rs])?\}")
    found = [f"{path.name}: {each}" for path in files for each in sentence.findall(path.read_text())]
    assert len(found) > 60 and not [each for each in found if whole_path.search(each)]
