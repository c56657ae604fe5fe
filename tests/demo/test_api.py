"""The page's endpoints, called as any program would through gradio_client, against a real server."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from demo_clips import index_of
from PIL import Image

from xmem.render.masks import write_index_mask
from xmem.video import probe

gradio_client = pytest.importorskip("gradio_client")

NAMES = (
    *("session_key", "join_session"),
    *(
        "open_video",
        "open_sample",
        "open_gallery",
        "open_bundle",
        "open_part",
        "describe_session",
        "set_trim",
        "estimate",
        "read_frame",
    ),
    *(
        "set_key_frame",
        "add_polygon",
        "click",
        "refine",
        "remove_key_frame",
        "update_object",
        "remove_object",
        "undo",
        "redo",
    ),
    *("propagate", "timeline", "frame_at", "set_post", "render", "track"),
)
FIRST, LATER = (1, 60, 90, 40, 120), (1, 60, 90, 64, 144)


@pytest.fixture
def client(address):
    """A program of its own: `reset_session` of a shared one may end the new session, too, where both cross."""
    return gradio_client.Client(address, verbose=False)


@pytest.fixture
def mask(tmp_path):
    """Masks as files: mask((id, top, bottom, left, right), ...)."""

    def write(*boxes) -> dict:
        path = tmp_path / f"mask-{len(list(tmp_path.iterdir()))}.png"
        write_index_mask(path, index_of(*boxes))
        return gradio_client.handle_file(path)

    return write


def read(path: str) -> np.ndarray:
    return np.array(Image.open(path))


def test_every_action_has_a_name_and_a_description(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    for name in NAMES:
        assert endpoints[f"/{name}"]["description"], name
    parameters = {each["parameter_name"]: each for each in endpoints["/track"]["parameters"]}
    assert list(parameters)[:3] == ["video", "painting", "fill_outlines"]
    assert all(each["parameter_has_default"] for name, each in parameters.items() if name not in ("video", "painting"))


def test_a_program_paints_runs_corrects_and_goes_back(client, clip, mask):
    opened = client.predict(gradio_client.handle_file(clip), api_name="/open_video")
    assert (opened["width"], opened["frames"], opened["objects"]) == (320, 12, [])
    client.predict(0, mask(FIRST), api_name="/set_key_frame")
    named = client.predict(1, name="Square", api_name="/update_object")
    assert named["objects"] == [{"id": 1, "name": "Square", "color": 0, "visible": True}]
    job = client.submit(size=64, api_name="/propagate")
    assert job.result(timeout=120)["pending"] == [] and job.outputs()[0]["total"] == 12

    corrected = client.predict(6, mask(LATER), api_name="/set_key_frame")
    assert [key["frame"] for key in corrected["key_frames"]] == [0, 6]
    assert corrected["pending"] == [[0, 5], [6, 11]]
    client.submit(size=64, api_name="/propagate").result(timeout=120)
    about, picture, shown = client.predict(6, api_name="/read_frame")
    assert about["is_key"] and read(picture).shape == (180, 320, 3)
    np.testing.assert_array_equal(read(shown), index_of(LATER))

    figures = client.predict(api_name="/timeline")
    assert figures["objects"][0]["frames"] == list(range(12)) and figures["key_frames"] == [0, 6]
    assert probe(client.predict(api_name="/render")).frame_count == 12
    assert [key["frame"] for key in client.predict(api_name="/undo")["key_frames"]] == [0]
    assert [key["frame"] for key in client.predict(api_name="/redo")["key_frames"]] == [0, 6]
    assert [key["frame"] for key in client.predict(6, api_name="/remove_key_frame")["key_frames"]] == [0]


def test_a_session_is_gone_on_with_by_its_key(client, address, clip, mask):
    client.predict(gradio_client.handle_file(clip), api_name="/open_video")
    client.predict(3, mask(FIRST), api_name="/set_key_frame")
    key = client.predict(api_name="/session_key")
    other = gradio_client.Client(address, verbose=False)
    with pytest.raises(Exception, match="is over or was never here"):
        other.predict(key[:-1] + "!", api_name="/join_session")
    assert [each["frame"] for each in other.predict(key, api_name="/join_session")["key_frames"]] == [3]


def test_a_program_paints_polygons_trims_and_cleans_up(client, clip):
    client.predict(gradio_client.handle_file(clip), api_name="/open_video")
    client.predict(3, 1, [[40, 60], [120, 60], [120, 90], [40, 90]], api_name="/add_polygon")
    _, _, shown = client.predict(3, api_name="/read_frame")
    inside = read(shown) == 1
    assert inside[75, 80] and not inside[30, 30] and 2200 < inside.sum() < 2700
    trimmed = client.predict(2, 9, api_name="/set_trim")
    assert (trimmed["first"], trimmed["last"], trimmed["pending"]) == (2, 9, [[2, 2], [3, 9]])
    client.predict(2, True, True, api_name="/set_post")
    assert client.predict(0.04, api_name="/frame_at") == 3


def test_two_programs_do_not_see_each_other(address, clip, mask):
    one, other = (gradio_client.Client(address, verbose=False) for _ in range(2))
    one.predict(gradio_client.handle_file(clip), api_name="/open_video")
    with pytest.raises(Exception, match="no video yet"):
        other.predict(api_name="/describe_session")


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda client: client.predict(api_name="/propagate"), "Nothing is painted yet"),
        (lambda client: client.predict(99, api_name="/read_frame"), "no frame 99"),
        (lambda client: client.predict(5, api_name="/remove_key_frame"), "no key frame"),
        (lambda client: client.predict(7, name="x", api_name="/update_object"), "no object 7"),
        (lambda client: client.predict(api_name="/render"), "no result yet"),
        (lambda client: client.predict(0, 1, api_name="/refine"), "nothing to refine"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(client, clip, call, sentence):
    client.predict(gradio_client.handle_file(clip), api_name="/open_video")
    with pytest.raises(Exception, match=sentence):
        call(client)


def test_a_path_of_the_server_is_not_a_file_that_was_handed_over(client):
    with pytest.raises(Exception, match="not"):
        client.predict({"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, api_name="/open_video")


def test_track_does_it_in_one_call(client, clip, mask):
    painting = {"background": None, "layers": [mask(FIRST, (2, 120, 150, 200, 260))], "composite": None}
    job = client.submit(gradio_client.handle_file(clip), painting, size=240, api_name="/track")
    progress, video, archive = job.result(timeout=120)
    assert "Done: 12 frames" in progress
    assert probe(video).frame_count == 12
    with zipfile.ZipFile(archive) as file:
        assert len(file.namelist()) == 12
        first = np.array(Image.open(file.open(file.namelist()[0])))
    assert set(np.unique(first)) == {0, 1, 2} and first[75, 80] == 1 and first[135, 230] == 2


def test_track_says_what_is_missing(client, clip):
    nothing = {"background": None, "layers": [], "composite": None}
    with pytest.raises(Exception, match="Nothing is painted yet"):
        client.predict(gradio_client.handle_file(clip), nothing, api_name="/track")


def test_a_bundle_is_opened_by_program(client, clip, tmp_path):
    from xmem import Session

    session = Session.create(clip, tmp_path / "session")
    session.set_key_frame(2, index_of(FIRST))
    bundle = session.save_bundle(Path(tmp_path) / "work.zip")
    opened = client.predict(gradio_client.handle_file(bundle), api_name="/open_bundle")
    assert [key["frame"] for key in opened["key_frames"]] == [2]


def test_a_file_outside_the_cache_is_not_served(client):
    import httpx

    answer = httpx.get(f"{client.src.rstrip('/')}/gradio_api/file=/etc/passwd", trust_env=False)
    assert answer.status_code == 403
