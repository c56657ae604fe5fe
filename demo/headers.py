"""Around every answer of the server: nothing is fetched for others, no other site acts for its visitors, requests are
bounded, and browsers take files for what they are."""

import shutil
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from xmem.limits import limits

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# Scripts and styles are Gradio's own and inline; what is closed is what nothing of the page needs.
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"content-security-policy", b"object-src 'none'; base-uri 'self'"),
)
FREE_BYTES = 500_000_000  # of disk that an upload has to leave
_ROUND_A_FILE = 1_000_000  # bytes of a form beside its file


class TooLarge(Exception):
    """A request sent more than it may."""


class Guard:
    """An ASGI middleware. uploads: the folder that uploads go to."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], uploads: Callable[[], Path]) -> None:
        self._app, self._uploads = app, uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def send_guarded(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                there = {name.lower() for name, _ in message.get("headers", [])}
                more = [header for header in HEADERS if header[0] not in there]
                message = {**message, "headers": [*message.get("headers", []), *more]}
            await send(message)

        refused = self._refusal(scope)
        if refused:
            await PlainTextResponse(refused[0], refused[1])(scope, receive, send_guarded)
            return
        try:
            await self._app(scope, bounded(receive, allowed_bytes(scope)), send_guarded)
        except TooLarge:
            if not begun:
                await PlainTextResponse("The request is too large.", 413)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> tuple[str, int] | None:
        """Why a request is not answered, and the status; None where it is."""
        headers = Headers(scope=scope)
        if is_relay(scope["path"]):
            return "Addresses are not fetched.", 403
        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and is_foreign(headers):
            return "Requests of other sites are not answered.", 403
        length = int(headers.get("content-length", "0").strip() or 0)
        if length > allowed_bytes(scope):
            return "The request is too large.", 413
        if is_upload(scope) and length > free_bytes(self._uploads()) - FREE_BYTES:
            return "The server's disk is full: try again later.", 507
        return None


def bounded(receive: Receive, allowed: int) -> Receive:
    """`receive`, which raises TooLarge once the body is larger than that, whatever it claimed."""
    got = 0

    async def receive_bounded() -> MutableMapping[str, Any]:
        nonlocal got
        message = await receive()
        if message["type"] == "http.request":
            got += len(message.get("body", b""))
            if got > allowed:
                raise TooLarge
        return message

    return receive_bounded


def is_upload(scope: Scope) -> bool:
    return scope["path"].rstrip("/").endswith("/upload")


def allowed_bytes(scope: Scope) -> int:
    """Of a request's body; uploads are files of up to `upload_bytes` each, one in a request."""
    return limits().upload_bytes + _ROUND_A_FILE if is_upload(scope) else limits().request_bytes


def is_foreign(headers: Headers) -> bool:
    """Whether a browser sends a request for the page of another site; programs name none."""
    site = headers.get("sec-fetch-site")  # which browsers send over https and to this machine
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return False
    hosts = (headers.get("host", ""), headers.get("x-forwarded-host", ""))
    return urlsplit(origin).netloc.lower() not in {host.strip().lower() for host in hosts if host}


def is_relay(path: str) -> bool:
    """Whether a path asks for an address in place of a file, however it is written."""
    _, found, target = unquote(unquote(path)).partition("/file=")
    scheme = target.lstrip("/ ").lower()
    return bool(found) and (scheme.startswith(("http:", "https:", "ftp:", "data:")) or "://" in target)


def free_bytes(folder: Path) -> int:
    """Of the disk that a folder lies on, or will."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
