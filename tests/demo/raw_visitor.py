"""A visitor without any client library, who may send what he likes."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from gradio_client.utils import apply_diff


class Refused(Exception):
    """The server's answer was an error; its sentence."""


class RawVisitor:
    """Fires events of a page by name, under a session hash of its own."""

    def __init__(self, address: str, timeout: float = 120, visit: str | None = None) -> None:
        self.address, self.visit = f"{address}/gradio_api", visit or uuid.uuid4().hex
        # each request has a connection of its own: the server closes those that rest for five seconds
        self.http = httpx.Client(timeout=timeout, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
        self.config = self.http.get(f"{address}/config").json()
        self._numbers = {each["api_name"]: each["id"] for each in self.config["dependencies"] if each["api_name"]}

    def upload(self, path: Path) -> dict[str, Any]:
        """A file as events take it."""
        with path.open("rb") as file:
            (place,) = self.http.post(f"{self.address}/upload", files={"files": (path.name, file)}).json()
        return handed(place)

    def join(self, name: str, *data: Any) -> httpx.Response:
        """Fire an event, and wait for nothing."""
        body = {"data": data, "fn_index": self._numbers[name], "session_hash": self.visit}
        return self.http.post(f"{self.address}/queue/join", json=body)

    def ask(self, name: str, *data: Any) -> list[Any]:
        """Fire an event and wait for its outputs. Raises Refused."""
        *_, last = self.steps(name, *data)
        return last

    def steps(self, name: str, *data: Any) -> Iterator[list[Any]]:
        """Fire an event; its outputs as they come, the last ones twice. Raises Refused."""
        answer = self.join(name, *data)
        if answer.status_code != 200:
            raise Refused(answer.text)
        event, latest = answer.json()["event_id"], None
        query = {"session_hash": self.visit}
        with self.http.stream("GET", f"{self.address}/queue/data", params=query) as lines:
            for line in lines.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if message.get("event_id") != event:
                    continue
                if message["msg"] == "process_completed":
                    if not message["success"]:
                        raise Refused(message["output"].get("error"))
                    yield message["output"]["data"]
                    return
                if message["msg"] == "process_generating" and message["success"]:
                    sent = message["output"]["data"]  # after the first ones, only what is different
                    latest = sent if latest is None else list(map(apply_diff, latest, sent))
                    yield latest
        raise Refused("The server said nothing.")


def handed(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}
