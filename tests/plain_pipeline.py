"""The plain form of `xmem.engine.pipeline`: every call made at once, by the caller."""

from concurrent.futures import Future

import pytest

from xmem.engine.pipeline import Behind

USERS = ("xmem.engine.segment", "xmem.session.passes", "xmem.export.videos")


def make_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing runs beside anything else until the test ends, or `monkeypatch.undo()`."""
    for module in USERS:
        monkeypatch.setattr(f"{module}.ahead", lambda items, depth: (item for item in items))
    monkeypatch.setattr(Behind, "put", _call)


def _call(_self: Behind, function, *arguments) -> Future:
    future = Future()
    future.set_result(function(*arguments))
    return future
