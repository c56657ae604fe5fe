"""What surrounds every answer of the server."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from demo.headers import HEADERS, is_relay


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info", "/nothing-here"])
def test_browsers_take_files_for_what_they_are(address, path):
    answer = httpx.get(address + path)
    for name, value in HEADERS:
        assert answer.headers[name.decode()] == value.decode()


def test_no_address_is_fetched_for_others(address):
    """Neither a public one nor one of the server's own network."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    there = f"127.0.0.1:{server.server_address[1]}/secret"
    for written in (f"http://{there}", f"HTTP://{there}", f"http%3A%2F%2F{there}", f"http%253A%252F%252F{there}"):
        for prefix in ("/gradio_api/file=", "/file="):
            assert httpx.get(address + prefix + written).status_code == 403
    server.shutdown()
    assert not asked


def test_files_are_files():
    assert not is_relay("/gradio_api/file=/tmp/xmem/cache/clip.mp4") and not is_relay("/config")
    for path in ("/gradio_api/file=https://a.example/b", "/file= //http://a", "/gradio_api/file=x://y"):
        assert is_relay(path)
