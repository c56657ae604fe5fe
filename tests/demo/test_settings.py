"""Which models and devices there are, what happens when one is chosen, and what the controls mean."""

import threading

import gradio as gr
import pytest

import xmem
from demo.html import panels
from demo.runs import memory, models, settings
from xmem.checkpoints import EMBEDDED, HELD_BACK, REGISTRY
from xmem.families import FAMILIES
from xmem.limits import Limits


def test_choosing_a_model_fetches_it_with_progress_and_then_says_that_it_works(monkeypatch, tmp_path):
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path))

    shown = threading.Event()

    def fetch(name, url=None):
        for done in (50_000_000, 249_026_057):
            yield models.checkpoints.FetchProgress(done, 249_026_057)
        shown.wait(20)

    monkeypatch.setattr("xmem.checkpoints.load.fetch", fetch)
    monkeypatch.setattr("demo.runs.follow.HEARTBEAT_SECONDS", 0.01)
    for _, message, status in settings.choose_model("XMem", "cpu"):  # noqa: B007  (the last status is what counts)
        if "249 of 249 MB" in message:
            shown.set()
    assert shown.is_set() and message == "" and "XMem on CPU" in status


def test_choosing_a_model_that_cannot_be_fetched_goes_back_to_the_embedded_one(monkeypatch, tmp_path):
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path))

    def fetch(name, url=None):
        raise xmem.InputError("XMem cannot be fetched: the host answered 503.")
        yield

    monkeypatch.setattr("xmem.checkpoints.load.fetch", fetch)
    choice, message, status = list(settings.choose_model("XMem", "cpu"))[-1]
    assert choice["value"] == EMBEDDED and "503 – the work goes on with xmem-lite." in message
    assert "xmem-lite on CPU" in status


def test_which_models_are_at_hand_is_marked(monkeypatch, tmp_path):
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path))
    monkeypatch.delenv("XMEM_MODEL", raising=False)
    (tmp_path / "XMem-s2.pth").touch()
    (tmp_path / "mine.safetensors").touch()
    labels = {name: label for label, name in models.model_choices()}
    assert labels["XMem"] == "XMem · 249 MB to fetch"
    assert labels["XMem-s2"] == "XMem-s2 · at hand"
    assert labels["mine.safetensors"] == "mine · own file"


def test_models_are_listed_family_by_family_each_with_a_line_on_what_it_is_good_at():
    families = [models.family(name).name for _, name in models.model_choices() if name in REGISTRY]
    assert list(dict.fromkeys(families)) == list(models.ORDER) and set(models.ORDER) == set(models.FAMILIES)
    assert sorted(families, key=models.ORDER.index) == families, "none stands apart from its family"
    assert [place for place, _, _ in models.headings()][:2] == [0, families.count("xmem")]
    assert '[data-index="0"]::before { content: "XMem: long videos and several objects"; }' in models.heading_css()
    assert '"Cutie: most videos where its file is at hand"' in models.heading_css()


def test_every_model_comes_with_the_accuracy_to_expect():
    """The embedded one's figure is ours and on other clips than published ones: the notice says so."""
    lite, full = models.accuracy(EMBEDDED), models.accuracy("XMem")
    assert f"J&amp;F {REGISTRY[EMBEDDED].figures[HELD_BACK]} " in lite and "measured by us" in lite
    assert "91.5" in lite and "published" in lite and "other clips" in lite
    assert "91.5 (DAVIS 2016 val), 86.2 (DAVIS 2017 val)" in full and HELD_BACK in full
    assert all("J&amp;F" in models.accuracy(name) for name in REGISTRY)
    assert "No score is known" in models.accuracy("mine.safetensors")


@pytest.mark.parametrize(
    ("device", "at_hand", "expected"), [("cpu", True, EMBEDDED), ("cuda", True, "XMem"), ("cuda", False, EMBEDDED)]
)
def test_the_first_model_depends_on_gpu_and_file(monkeypatch, tmp_path, device, at_hand, expected):
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path))
    monkeypatch.delenv("XMEM_MODEL", raising=False)
    monkeypatch.setattr(models, "device_choices", lambda: [(device, device)])
    if at_hand:
        (tmp_path / "XMem.pth").touch()
    assert models.default_model() == expected


def test_the_controls_values_become_settings_and_back(chosen):
    read = settings.read(*chosen)
    assert (read.size, read.memory.mem_every, read.direction, read.pause_at_cuts) == (64, 3, "both", False)
    shown = settings.values(read)
    size = shown[2]["value"]
    assert settings.read(shown[0], chosen[1], size, *shown[3:]) == read
    assert ("64 pixels", size) in shown[2]["choices"], "what the page does not offer by itself is offered then"
    assert shown[3]["family"] == "xmem" and shown[3]["values"]["top_k"] == 8


def test_size_zero_is_the_videos_own(chosen):
    chosen[2] = settings.ORIGINAL_SIZE
    assert settings.read(*chosen).size is None


def test_settings_that_cannot_work_are_a_sentence(chosen):
    chosen[3]["max_working_frames"] = 2
    with pytest.raises(xmem.InputError, match="must be larger than"):
        settings.read(*chosen)


@pytest.mark.parametrize(("model", "name"), [("STCN", "stcn"), ("R50-AOTL", "aot"), ("Cutie-base-mega", "cutie")])
def test_the_settings_change_with_the_models_family(chosen, model, name):
    """What still shows another family says nothing, until the page has got the lines of this one."""
    before = memory.shown(chosen[0])
    control = settings.shown_memory(model, before)
    assert control["family"] == name and [item["name"] for item in control["settings"]] == list(control["values"])
    assert all(item["default"] == control["values"][item["name"]] for item in control["settings"])
    assert settings.read(model, "cpu", 64, before).memory is None
    control["values"]["mem_every"] = 3
    read = settings.read(model, "cpu", 64, control)
    assert read.memory == FAMILIES[name].config(mem_every=3)
    assert settings.values(read)[3] == control
    assert "value" not in settings.shown_memory(model, control), "of one family they stay as they are"


@pytest.mark.parametrize(("device", "pixels", "grows"), [("cpu", 9e6, True), ("cpu", 2e5, False), ("cuda", 9e6, False)])
def test_that_quick_runs_take_a_larger_size_is_said_where_they_do(monkeypatch, device, pixels, grows):
    monkeypatch.setattr(settings, "limits", lambda: Limits(inference_pixels=int(pixels)))
    monkeypatch.setattr(models, "device_choices", lambda: [(device, device)])
    with gr.Blocks():
        assert ("480" in settings._size().info) == grows


def test_how_often_is_remembered_is_automatic_until_it_is_chosen(chosen):
    line = next(item for item in memory.shown("xmem-lite")["settings"] if item["name"] == "mem_every")
    assert (line["default"], line["none"], line["first"]) == (None, "auto", 5)
    read = settings.read("xmem-lite", "cpu", 64, {"top_k": 8}).memory
    assert (read.mem_every, read.top_k) == (None, 8)
    assert settings.read("xmem-lite", "cpu", 64, {"mem_every": None}).memory is None


@pytest.mark.parametrize(
    ("pixels", "default", "largest"), [(9_000_000, 384, 720), (500_000, 384, 480), (1000, 240, 240)]
)
def test_a_size_that_is_over_the_limit_is_neither_offered_nor_the_default(monkeypatch, pixels, default, largest):
    """With one each first run of a visitor would be refused."""
    monkeypatch.setattr(settings, "limits", lambda: Limits(inference_pixels=pixels))
    monkeypatch.setattr(models, "device_choices", lambda: [("CPU", "cpu")])
    assert settings.default_size() == default and max(size for _, size in settings.size_choices()) == largest
    assert (f"{largest} pixels", largest) in settings.size_choices()


def test_every_family_is_said_to_be_good_at_something():
    assert "STM, for comparing" in models.accuracy("STM") and "AOT, for many objects" in models.accuracy("R50-AOTL")


def test_file_names_and_messages_cannot_carry_markup():
    assert "<script>" not in panels.message("<script>alert(1)</script>")
    assert "<b>" not in panels.failed("<b>")
