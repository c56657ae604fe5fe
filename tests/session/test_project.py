"""Settings in project.json, also those of projects made before a setting existed."""

import json
from dataclasses import replace

import pytest
from tiny_model import write_tiny_model

from tests.session.scene import COUNT, SETTINGS, square
from xmem import InputError, Session
from xmem.session import TrackSettings
from xmem.session.project import Project, read_project, write_project


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_the_precision_is_kept_in_the_project(tmp_path, precision):
    project = Project("video.mp4", "clip", 24, 0, 23, settings=TrackSettings(precision=precision))
    write_project(project, tmp_path / "project.json")
    assert read_project(tmp_path / "project.json") == project


def test_a_project_that_knew_no_precision_opens_and_keeps_its_results(clip, tmp_path):
    """Results made with another one named are other results, as with another model or size."""
    settings = replace(SETTINGS, model=str(write_tiny_model(tmp_path / "tiny.safetensors")), device="cpu")
    session = Session.create(clip, tmp_path / "work")
    session.set_key_frame(0, square(4))
    assert len(list(session.propagate(settings))) == COUNT
    path = tmp_path / "work" / "project.json"
    values = json.loads(path.read_text())
    assert values["settings"].pop("precision") == "auto"
    path.write_text(json.dumps(values))
    (span,) = (tmp_path / "work" / "spans").glob("*/span.json")
    assert "precision" not in json.loads(span.read_text())["signature"]
    again = Session.open(tmp_path / "work")
    assert again.settings == settings and again.pending() == []
    assert again.pending(replace(settings, precision="float32")), "exact values were not promised so far"


def test_the_run_loads_the_network_in_the_precision_that_is_set(clip, tmp_path, monkeypatch):
    asked = []

    def load_model(*args):
        asked.append(args)
        raise InputError("Enough.")

    monkeypatch.setattr("xmem.session.session.load_model", load_model)
    session = Session.create(clip, tmp_path / "work")
    session.set_key_frame(0, square(4))
    with pytest.raises(InputError, match="Enough"):
        list(session.propagate(replace(SETTINGS, device="cpu", precision="bfloat16")))
    assert asked == [("xmem-lite", "cpu", "bfloat16")]


def test_an_unknown_precision_is_refused():
    with pytest.raises(InputError, match="precision must be one of auto, float32, float16, bfloat16, not 'half'"):
        TrackSettings(precision="half")
