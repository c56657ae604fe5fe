"""Figures of the server for Prometheus; off unless asked for, and then by its own client library."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from xmem.errors import InputError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class Metrics:
    """Counted where things happen, whether or not anybody looks: until `switch_on`, for nobody."""

    MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self._registry: CollectorRegistry | None = None

    @property
    def is_on(self) -> bool:
        return self._registry is not None

    def switch_on(self) -> None:
        """Count from now on. Raises InputError where the library is missing."""
        if find_spec("prometheus_client") is None:
            raise InputError("Metrics need prometheus_client: install this package with its extra 'metrics'.")
        from prometheus_client import CollectorRegistry, Counter, Gauge

        self._registry = CollectorRegistry()
        self._runs = Counter("xmem_runs", "Runs, by how they ended", ["end"], registry=self._registry)
        self._seconds = Counter("xmem_run_seconds", "Seconds that runs took", registry=self._registry)
        self._frames = Counter("xmem_frames", "Frames that networks ran on", registry=self._registry)
        self._refusals = Counter("xmem_refusals", "Requests that were refused in a sentence", registry=self._registry)
        self._failures = Counter("xmem_failures", "Requests that failed unforeseen", registry=self._registry)
        self._line = Gauge("xmem_line", "Runs that wait or go on", registry=self._registry)
        self._free = Gauge("xmem_disk_free_bytes", "Free where sessions are kept", registry=self._registry)

    def run(self, end: str, frames: int, seconds: float) -> None:
        """A run is over. end: "done", "stopped" or "failed"."""
        if self.is_on:
            self._runs.labels(end).inc()
            self._frames.inc(frames)
            self._seconds.inc(seconds)

    def refused(self) -> None:
        if self.is_on:
            self._refusals.inc()

    def failed(self) -> None:
        if self.is_on:
            self._failures.inc()

    def text(self, line: int, free: int) -> bytes:
        """What Prometheus reads. line: runs that wait or go on; free: bytes of the disk."""
        from prometheus_client import generate_latest

        self._line.set(line)
        self._free.set(free)
        return generate_latest(self._registry)


METRICS = Metrics()  # of this process
