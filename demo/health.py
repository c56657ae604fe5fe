"""For whoever runs the server: whether it is well, at /healthz; where asked for, figures for Prometheus at /metrics.

Neither tells anything about visitors' work.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse, Response

from demo.headers import Receive, Scope, Send, free_bytes
from demo.metrics import METRICS

LEAST_FREE_BYTES = 200_000_000  # of disk, with which a run can still write


class Health:
    """An ASGI middleware. folder: where sessions are kept; is_loaded: whether a network is at hand; waiting: how many
    runs wait or go on; ends: whether the server is about to end."""

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        folder: Callable[[], Path],
        is_loaded: Callable[[], bool],
        runs: Callable[[], int],
        ends: Callable[[], bool],
    ) -> None:
        self._app, self._folder, self._is_loaded, self._runs, self._ends = app, folder, is_loaded, runs, ends

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._answer(scope["path"]) if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") else None
        await (found or self._app)(scope, receive, send)

    def _answer(self, path: str) -> Response | None:
        if path == "/healthz":
            told = self.told()
            return JSONResponse(told, 200 if told["ok"] else 503, headers={"cache-control": "no-store"})
        if path == "/metrics" and METRICS.is_on:
            return Response(METRICS.text(self._runs(), free_bytes(self._folder())), media_type=METRICS.MEDIA_TYPE)
        return None

    def told(self) -> dict[str, Any]:
        """ok: up, with a network, room on the disk, and not about to end."""
        free = free_bytes(self._folder())
        loaded, ends = self._is_loaded(), self._ends()
        return {
            "ok": loaded and not ends and free > LEAST_FREE_BYTES,
            "model_loaded": loaded,
            "disk_free_bytes": free,
            "runs": self._runs(),
            "ending": ends,
        }
