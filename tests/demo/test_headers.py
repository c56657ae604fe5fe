"""What surrounds every answer of the server."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from starlette.datastructures import Headers

from demo.headers import HEADERS, is_foreign, is_relay
from xmem.limits import Limits


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


def test_other_sites_do_not_act_for_visitors(address, clip):
    """A page anywhere may send a form to this server with a visitor's browser; it is not answered."""
    own = {"origin": address}
    foreign = ({"origin": "https://a.example"}, {"origin": "null"}, {**own, "sec-fetch-site": "cross-site"})
    for headers, status in ((own, 200), ({}, 200), *((each, 403) for each in foreign)):
        with clip.open("rb") as file:
            answer = httpx.post(f"{address}/gradio_api/upload", files={"files": file}, headers=headers)
        assert answer.status_code == status, headers
    for path in ("queue/join", "run/describe_session", "cancel", "component_server"):
        for headers in foreign:
            assert httpx.post(f"{address}/gradio_api/{path}", json={}, headers=headers).status_code == 403
    proxied = {"origin": "https://shown.example", "x-forwarded-host": "shown.example"}
    assert not is_foreign(Headers(proxied)) and not is_foreign(Headers({"sec-fetch-site": "same-origin"}))


def test_requests_are_bounded_whether_or_not_they_say_how_long_they_are(address, monkeypatch):
    monkeypatch.setattr("demo.headers.limits", lambda: Limits(request_bytes=1000, upload_bytes=1000))
    join = f"{address}/gradio_api/queue/join"
    assert httpx.post(join, content=b"x" * 1001).status_code == 413
    assert httpx.post(join, content=iter([b"x" * 600] * 3)).status_code in (400, 413)
    assert httpx.post(join, content=b"x" * 1000).status_code == 422, "no event, but not too large"
    upload = f"{address}/gradio_api/upload"
    assert httpx.post(upload, files={"files": b"x" * 1_100_000}).status_code == 413


def test_an_upload_for_which_there_is_no_room_is_refused_before_it_is_taken(address, monkeypatch):
    monkeypatch.setattr("demo.headers.free_bytes", lambda folder: 500_000_000)
    answer = httpx.post(f"{address}/gradio_api/upload", files={"files": b"x"})
    assert answer.status_code == 507 and "disk is full" in answer.text


def test_no_run_is_recorded_for_others(address):
    assert httpx.get(f"{address}/config").json()["run_history"] is False
    assert httpx.get(f"{address}/gradio_api/runs").status_code == 404
