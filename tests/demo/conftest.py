"""Short real clips and a tiny network, made once for all tests of the page."""

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from demo_clips import index_of, write_clip
from tiny_model import write_tiny_model

from demo.html import pictures
from demo.visit import studio
from demo.visit.keeping import Workspaces


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "My clip (1).mp4", 320, 180)


@pytest.fixture
def workspaces(tmp_path, monkeypatch):
    """A root of its own for the workspaces of one test."""
    made = Workspaces(tmp_path / "server", tmp_path)
    monkeypatch.setattr(studio, "workspaces", lambda: made)
    yield made
    made.close()


@pytest.fixture
def visitor(workspaces) -> SimpleNamespace:
    """A request as Gradio hands it to events."""
    return SimpleNamespace(session_hash="visitor")


@pytest.fixture
def session(visitor, clip):
    """The visitor's session with a video and nothing painted."""
    return studio.begin_session(visitor, clip)


@pytest.fixture
def listed(tiny_model, monkeypatch) -> str:
    """The tiny network, as one of the models that visitors may choose."""
    monkeypatch.setenv("XMEM_MODEL", str(tiny_model))
    return str(tiny_model)


@pytest.fixture
def chosen(listed) -> list[Any]:
    """The settings' controls with a tiny network, in the order of `demo.runs.settings.read`."""
    memory = {
        "mem_every": 3,
        "min_working_frames": 2,
        "max_working_frames": 3,
        "prototypes": 16,
        "max_long_term": 512,
        "top_k": 8,
    }
    return [listed, "cpu", 64, memory, "both", False]


@pytest.fixture
def act(visitor) -> Callable[..., tuple[Any, Any]]:
    """Send an action as the canvas does: act(function, frame=3, ...) -> (scene, refreshed)."""

    def send(function: Callable, **data: Any) -> tuple[Any, Any]:
        return function(gr.EventData(None, {"ack": 7, **data}), visitor)

    return send


@pytest.fixture
def painted() -> Callable[..., str]:
    """What the canvas sends of a mask: painted(box, ...) with boxes (id, top, bottom, left, right)."""
    return lambda *boxes: pictures.mask_uri(index_of(*boxes))


@pytest.fixture(scope="module")
def address(tmp_path_factory, tiny_model):
    """The page, served from this process."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("root")
    root = Workspaces(folder / "server", folder)
    patch.setattr(studio, "workspaces", lambda: root)
    patch.setenv("XMEM_MODEL", str(tiny_model))
    patch.setenv("GRADIO_TEMP_DIR", str(root.cache))
    patch.setenv("no_proxy", "127.0.0.1,localhost")
    from demo.page import build_demo  # Gradio looks at GRADIO_TEMP_DIR when components are made

    demo, options = build_demo()
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        port = probe_socket.getsockname()[1]
    options["allowed_paths"].append(str(root.root))  # a test's folder need not be below the temporary folder
    demo.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=port, **options)
    yield f"http://127.0.0.1:{port}"
    demo.close()
    patch.undo()
    root.close()
