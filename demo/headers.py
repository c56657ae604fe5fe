"""Around every answer of the server: nothing is fetched for others, and browsers take files for what they are."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from starlette.responses import PlainTextResponse

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# Scripts and styles are Gradio's own and inline; what is closed is what nothing of the page needs.
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"content-security-policy", b"object-src 'none'; base-uri 'self'"),
)


class Guard:
    """An ASGI middleware. Gradio's `/file=` also fetches any address for whoever asks: not here."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if is_relay(scope["path"]):
            await PlainTextResponse("Addresses are not fetched.", 403)(scope, receive, send)
            return

        async def send_guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message.get("headers", [])}
                more = [header for header in HEADERS if header[0] not in there]
                message = {**message, "headers": [*message.get("headers", []), *more]}
            await send(message)

        await self._app(scope, receive, send_guarded)


def is_relay(path: str) -> bool:
    """Whether a path asks for an address in place of a file, however it is written."""
    _, found, target = unquote(unquote(path)).partition("/file=")
    scheme = target.lstrip("/ ").lower()
    return bool(found) and (scheme.startswith(("http:", "https:", "ftp:", "data:")) or "://" in target)
