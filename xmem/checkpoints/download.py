"""One file from an address to a part file: streamed, resumed where it stopped, by one process at a time."""

from __future__ import annotations

import errno
import http.client
import os
import re
import shutil
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from filelock import BaseFileLock, FileLock, Timeout

from xmem.errors import InputError

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 30
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class FetchProgress:
    """How far a fetch is; `total_bytes` is None while the server has not said it."""

    done_bytes: int
    total_bytes: int | None


def megabytes(size: int) -> str:
    """A size in bytes for people: 249026057 -> "249.0 MB"."""
    return f"{size / 1e6:.1f} MB"


def hold(part: Path) -> Generator[FetchProgress, None, BaseFileLock]:
    """The lock of the part file `part`, held by this caller alone until `release`.

    While another process (or thread) holds it, yields how far that one is.
    """
    lock = FileLock(f"{part}.lock", thread_local=False)  # a fetch may be gone on with, or closed, by another thread
    while True:
        try:
            lock.acquire(blocking=False)
            return lock
        except Timeout:
            yield FetchProgress(_bytes_at(part), None)
            time.sleep(POLL_SECONDS)


def release(part: Path, lock: BaseFileLock) -> None:
    """Let go of what `hold` gave; a part file without content leaves nothing behind."""
    if _bytes_at(part) == 0:
        part.unlink(missing_ok=True)
    with suppress(OSError):  # Windows keeps a file that is open
        Path(lock.lock_file).unlink()  # while it is held: whoever waits for it sees that it went, and makes a new one
    lock.release()


class _ShorterError(Exception):
    """The file at the address has become shorter than the part that is here (416)."""


def _bytes_at(path: Path) -> int:
    """Size of a file that another process may take away at any time."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def download(url: str, part: Path, name: str) -> Iterator[FetchProgress]:
    """Bring what `url` serves into the file `part` (which the caller holds, see `hold`), going on where it stops.

    Resuming needs the server's word that the file is still the same one (If-Range); otherwise it starts over.
    name: what is fetched, for messages. Raises InputError where the server, the network or the disk fails;
    what has arrived by then stays in the part file.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError(f"{name} cannot be fetched from '{url}': the address must begin with http:// or https://.")
    try:
        handle = open(part, "ab", buffering=0)  # noqa: SIM115  (closed below)
    except OSError as error:
        raise InputError(f"{name} cannot be written into {part.parent} ({error.strerror}).") from error
    with handle:
        yield from _download(url, handle, name)


def _download(url: str, handle: FileIO, name: str) -> Iterator[FetchProgress]:
    validator_file = Path(f"{handle.name}.validator")
    validator = _kept_validator(validator_file, url)
    # the last byte is asked for again, so that a part that is whole already gets an answer like any other
    handle.truncate(0 if validator is None else max(_size(handle) - 1, 0))
    try:
        response = _open(url, name, _size(handle), validator)
    except _ShorterError:
        handle.truncate(0)
        response = _open(url, name, 0, None)
    with response:
        total = _expected_bytes(response, handle, name)
        _keep_validator(validator_file, url, response)
        _check_space(handle, total, name)
        yield from _receive(response, handle, total, name)
    done = _size(handle)
    if total is not None and done != total:
        raise InputError(
            f"The download of {name} stopped early, at {megabytes(done)} of {megabytes(total)}: "
            "start it again, and it goes on from there."
        )
    validator_file.unlink(missing_ok=True)


def _size(handle: FileIO) -> int:
    return os.fstat(handle.fileno()).st_size


def _kept_validator(path: Path, url: str) -> str | None:
    """What identified the file of which the part file holds the beginning; None without one for this address."""
    try:
        kept_url, validator = path.read_text().splitlines()
    except (OSError, ValueError):
        return None
    return validator if kept_url == url else None


def _keep_validator(path: Path, url: str, response: http.client.HTTPResponse) -> None:
    etag = response.headers.get("ETag", "")
    validator = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")
    if validator:
        path.write_text(f"{url}\n{validator}\n")
    else:
        path.unlink(missing_ok=True)


def _open(url: str, name: str, offset: int, validator: str | None) -> http.client.HTTPResponse:
    """Ask for the file from byte `offset` on. Raises _ShorterError where it has fewer bytes by now, else InputError."""
    request = Request(url, headers={"User-Agent": "xmem", "Accept-Encoding": "identity"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
        request.add_header("If-Range", validator or "")
    host = urlsplit(url).netloc
    try:
        return urlopen(request, timeout=TIMEOUT_SECONDS)
    except HTTPError as error:
        if error.code == 416 and offset:
            raise _ShorterError from error
        hint = "the file is not at that address (any more)" if error.code in (404, 410) else "try again later"
        raise InputError(f"{name} cannot be fetched: {host} answered {error.code} {error.reason} ({hint}).") from error
    except (URLError, OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"{name} cannot be fetched, because {host} cannot be reached ({reason}): check the network connection."
        ) from error


def _expected_bytes(response: http.client.HTTPResponse, handle: FileIO, name: str) -> int | None:
    """Size of the whole file as the server says it; a server that sends it from the start empties the part file."""
    if response.headers.get_content_type() == "text/html":
        raise InputError(
            f"The address of {name} serves an HTML page instead of the file: a login page of the network, perhaps?"
        )
    if response.status != 206:
        handle.truncate(0)
        length = response.headers.get("Content-Length")
        return int(length) if length and length.isdigit() else None
    content_range = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if content_range is None or int(content_range[1]) != _size(handle):
        raise InputError(f"The server of {name} sent another part of the file than was asked for: try again later.")
    return None if content_range[2] == "*" else int(content_range[2])


def _check_space(handle: FileIO, total: int | None, name: str) -> None:
    folder = Path(handle.name).parent
    free = shutil.disk_usage(folder).free
    if total is not None and total - _size(handle) > free:
        raise InputError(
            f"{name} needs {megabytes(total - _size(handle))} more, of which {megabytes(free)} are free: make room."
        )


def _receive(
    response: http.client.HTTPResponse, handle: FileIO, total: int | None, name: str
) -> Iterator[FetchProgress]:
    done = _size(handle)
    yield FetchProgress(done, total)
    while True:
        try:
            chunk = response.read(CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:  # what came of it is kept
            raise InputError(
                f"The connection broke during the download of {name}, at {megabytes(done)} ({error}): "
                "start it again, and it goes on from there."
            ) from error
        if not chunk:
            return
        _write(handle, chunk, name)
        done += len(chunk)
        yield FetchProgress(done, total)


def _write(handle: FileIO, chunk: bytes, name: str) -> None:
    rest = memoryview(chunk)
    try:
        while rest:
            rest = rest[handle.write(rest) :]
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(f"The disk is full: make room and fetch {name} again.") from error
        raise InputError(f"{name} cannot be written into its folder ({error.strerror}).") from error
