"""The tabs by program, as docs/api.md shows: looks, files, a bundle that resumes, scores and a comparison."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.demo.tabs_visitor import FRAMES, painting
from xmem.render.masks import write_index_mask
from xmem.video import probe

gradio_client = pytest.importorskip("gradio_client")


@pytest.fixture(scope="module")
def client(address, clip, tmp_path_factory):
    """A program that has tracked two objects."""
    made = gradio_client.Client(address, verbose=False)
    mask = tmp_path_factory.mktemp("mask") / "mask.png"
    write_index_mask(mask, painting())
    made.predict(gradio_client.handle_file(clip), api_name="/open_video")
    made.predict(0, gradio_client.handle_file(mask), api_name="/set_key_frame")
    made.predict(size=64, api_name="/propagate")
    return made


def test_every_tab_has_an_endpoint_that_is_described(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    for name in ("looks_preview", "apply_style", "export", "save_bundle", "quality", "compare"):
        assert len(endpoints[f"/{name}"]["description"]) > 60, name


def test_a_look_is_previewed_and_applied(client):
    picture = client.predict("cutout_colour", background="#102030", frame=0, api_name="/looks_preview")
    corner = np.array(Image.open(picture).convert("RGB"))[:10, :10].reshape(-1, 3).mean(axis=0)
    assert np.abs(corner - (16, 32, 48)).max() < 8
    video = client.predict("cutout_colour", background="#102030", api_name="/apply_style")
    assert Path(video).name == "My-clip-1-overlay.mp4" and probe(video).frame_count == FRAMES


def test_files_and_a_bundle_come_back(client, address):
    files = client.predict(["index_png", "csv"], api_name="/export")
    assert [Path(file).name for file in files] == ["My-clip-1-masks.zip", "My-clip-1-objects.csv"]
    bundle = client.predict(["csv"], api_name="/save_bundle")
    assert zipfile.ZipFile(bundle).testzip() is None
    other = gradio_client.Client(address, verbose=False)
    resumed = other.predict(gradio_client.handle_file(bundle), api_name="/open_bundle")
    assert resumed["frames"] == FRAMES and [item["id"] for item in resumed["objects"]] == [1, 2]


def test_the_result_is_scored_and_compared(client):
    (masks,) = client.predict(["index_png"], api_name="/export")
    scores = client.predict(gradio_client.handle_file(masks), api_name="/quality")
    assert scores["jf"] == 1 and len(scores["rows"]) == 2 * (FRAMES - 1)
    found, video = client.predict("three", right_memory="no_sensory", api_name="/compare")
    assert len(found["sides"]) == 2 and found["verdict"].startswith("Sensory memory")
    assert probe(video).frame_count == FRAMES


def test_a_program_learns_in_a_sentence_what_is_missing(address):
    with pytest.raises(Exception, match="no video yet"):
        gradio_client.Client(address, verbose=False).predict(["csv"], api_name="/export")
