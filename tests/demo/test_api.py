"""The page's one public endpoint, called as any program would through gradio_client."""

import socket
import zipfile

import numpy as np
import pytest
from PIL import Image

from demo import events
from xmem.video import probe

gradio_client = pytest.importorskip("gradio_client")


@pytest.fixture(scope="module")
def client(tmp_path_factory, tiny_model):
    """A client of the page, served from this process."""
    patch = pytest.MonkeyPatch()
    root = events.session.Workspaces(tmp_path_factory.mktemp("root"))
    patch.setattr(events, "workspaces", lambda: root)
    patch.setenv("XMEM_MODEL", str(tiny_model))
    patch.setenv("GRADIO_TEMP_DIR", str(root.cache))
    patch.setenv("no_proxy", "127.0.0.1,localhost")
    from demo.ui import build_demo

    demo, options = build_demo()
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        port = probe_socket.getsockname()[1]
    options["allowed_paths"].append(str(root.root))  # a test's folder need not be below the temporary folder
    demo.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=port, **options)
    yield gradio_client.Client(f"http://127.0.0.1:{port}", verbose=False)
    demo.close()
    patch.undo()
    root.close()


@pytest.fixture
def painting(tmp_path) -> dict:
    index = np.zeros((180, 320), np.uint8)
    index[60:90, 40:120], index[120:150, 200:260] = 1, 2
    mask = Image.fromarray(index, "P")
    mask.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    mask.save(tmp_path / "mask.png")
    return {"background": None, "layers": [gradio_client.handle_file(tmp_path / "mask.png")], "composite": None}


def test_tracking_is_the_only_public_endpoint_and_its_settings_have_defaults(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert list(endpoints) == ["/track"]
    parameters = {each["parameter_name"]: each for each in endpoints["/track"]["parameters"]}
    assert list(parameters)[:3] == ["video", "painting", "fill_outlines"]
    assert all(each["parameter_has_default"] for name, each in parameters.items() if name not in ("video", "painting"))
    assert "index masks" in endpoints["/track"]["description"]


def test_a_program_gets_progress_video_and_masks(client, clip, painting, tmp_path):
    job = client.submit(gradio_client.handle_file(clip), painting, size=240, api_name="/track")
    progress, video, archive = job.result(timeout=120)
    assert "Done: 12 frames" in progress
    assert probe(video).frame_count == 12
    with zipfile.ZipFile(archive) as file:
        assert len(file.namelist()) == 12
        first = np.array(Image.open(file.open(file.namelist()[0])))
    assert set(np.unique(first)) == {0, 1, 2} and first[75, 80] == 1 and first[135, 230] == 2


def test_a_program_learns_what_is_missing(client, clip):
    with pytest.raises(Exception, match="Nothing is painted yet"):
        client.predict(
            gradio_client.handle_file(clip), {"background": None, "layers": [], "composite": None}, api_name="/track"
        )


def test_a_file_outside_the_cache_is_not_served(client):
    import httpx

    answer = httpx.get(f"{client.src.rstrip('/')}/gradio_api/file=/etc/passwd", trust_env=False)
    assert answer.status_code == 403
