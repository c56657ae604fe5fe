"""Where checkpoints lie, and how one is found, fetched and verified.

Checkpoints lie in `checkpoints/` of a checkout, in the user's cache where the package is installed, or in the folder
that the environment variable XMEM_CHECKPOINTS names; the embedded one always comes along with the code. XMEM_MODEL
names the checkpoint that is used where none is chosen (and that a demo fetches at its start).
Of a released checkpoint the SHA-256 is kept beside it from its first fetch or use on (`XMem.pth.sha256`, as
`sha256sum -c` reads it), and a file that differs from it is refused.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from platformdirs import user_cache_path
from tqdm import tqdm

from xmem.checkpoints.catalogue import CLICKERS, HELPERS, REGISTRY, Checkpoint, record_of, unknown
from xmem.checkpoints.download import FetchProgress, download, hold, release
from xmem.checkpoints.files import network_of
from xmem.errors import InputError
from xmem.resources import EMBEDDED_CHECKPOINTS, IS_INSTALLED, RESTORE

log = logging.getLogger("xmem")

SUFFIXES = (".safetensors", ".pth", ".pt")


def folder() -> Path:
    """The folder that keeps checkpoints: XMEM_CHECKPOINTS, or that of a checkout, or the user's cache."""
    if chosen := os.environ.get("XMEM_CHECKPOINTS"):
        return Path(chosen).expanduser()
    return user_cache_path("xmem", appauthor=False) / "checkpoints" if IS_INSTALLED else EMBEDDED_CHECKPOINTS


def find(name: str) -> Path | None:
    """The file (or folder) of the checkpoint `name`, None where it is not at hand.

    A registered name stands for its own file; any other for a file that was put into the folder by hand, with or
    without its suffix ("mine" finds mine.safetensors). Raises InputError for a name that could leave the folder.
    """
    if Path(name).name != name:
        raise InputError(f"'{name}' is not the name of a checkpoint: give a name without folders.")
    record = record_of(name)
    if record is not None and record.files:
        place = folder() / record.file_name
        return place if all((place / file).is_file() for file in record.files) else None
    if record is not None:
        folders = [folder()] if record.url else [folder(), EMBEDDED_CHECKPOINTS]
        candidates = [place / record.file_name for place in folders]
    else:
        candidates = [folder() / (name + suffix) for suffix in ("", *SUFFIXES) if (name + suffix).endswith(SUFFIXES)]
    return next((path for path in candidates if path.is_file()), None)


def is_at_hand(name: str) -> bool:
    """Whether a checkpoint can be loaded without fetching it; of a file's path, always."""
    record = record_of(name)
    return record is None or record.url is None or find(name) is not None


def size_at_hand(path: Path) -> int:
    """Bytes of what `find` found."""
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size


def own_files() -> list[Path]:
    """Checkpoint files that were put into the folder and are no registered ones, by name."""
    registered = {record.file_name for record in (*REGISTRY.values(), *CLICKERS.values())}
    files = sorted(folder().glob("*")) if folder().is_dir() else []
    return [path for path in files if path.suffix in SUFFIXES and path.name not in registered]


def fetch(name: str, url: str | None = None) -> Iterator[FetchProgress]:
    """Bring the released checkpoint `name` into the folder, verified; a no-op where it is there already.

    Streams into `<file>.part`, resumes an earlier attempt, and gives the file its place only once its length,
    and then names, shapes and finiteness of all its tensors, are right. Closing the iterator stops; what has arrived
    is kept for the next attempt. Several processes may fetch at once: one does, the others wait and see its progress.
    url: another address of the same file. Raises InputError with one sentence per way to fail.
    """
    record = record_of(name)
    if record is None:
        raise unknown(name, (*REGISTRY, *HELPERS))
    address = url or record.url
    if address is None:
        raise InputError(f"{name} comes with the project and is not fetched: {RESTORE}.")
    place = folder() / record.file_name
    if not record.files:
        yield from _bring(record, address, place)
        return
    done = 0
    try:
        for file in record.files:
            for progress in _bring(record, address + file, place / file):
                total = progress.total_bytes if file == record.files[-1] else None
                yield FetchProgress(done + progress.done_bytes, total and done + total)
            done += (place / file).stat().st_size
    finally:
        with suppress(OSError):
            place.rmdir()  # where nothing came


def _bring(record: Checkpoint, address: str, place: Path) -> Iterator[FetchProgress]:
    """One file of a checkpoint."""
    name = record.name
    if place.is_file():
        size = place.stat().st_size
        yield FetchProgress(size, size)
        return
    part = place.with_name(place.name + ".part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = yield from hold(part)
    except OSError as error:
        raise InputError(f"{name} cannot be kept in {place.parent} ({error.strerror}).") from error
    try:
        if place.is_file():  # another process brought it while this one waited
            yield FetchProgress(place.stat().st_size, place.stat().st_size)
        else:
            yield from download(address, part, name)
            _take_place(record, part, place)
    finally:
        release(part, lock)


def with_bar(name: str) -> Iterator[FetchProgress]:
    """`fetch` with a progress bar on standard error."""
    steps = fetch(name)
    first = next(steps)  # where the attempt fails at once, no bar is drawn
    with tqdm(
        desc=f"fetching {name}", unit="B", unit_scale=True, total=first.total_bytes, initial=first.done_bytes
    ) as bar:
        yield first
        for progress in steps:
            bar.total = progress.total_bytes
            bar.update(progress.done_bytes - bar.n)
            yield progress


def fetch_with_bar(name: str) -> Path:
    """`fetch` with a progress bar on standard error; returns the file."""
    for _ in with_bar(name):
        pass
    place = find(name)
    assert place is not None
    return place


def _take_place(record: Checkpoint, part: Path, place: Path) -> None:
    """Verify a fetched file, note its hash and give it its place; a file that fails is thrown away."""
    digest = file_hash(part)
    try:
        if not record.files:  # else the library that reads them says what is wrong with them
            network_of(part, record)
        if record.md5 not in (None, file_hash(part, "md5")):
            raise InputError(
                f"Its authors state another MD5 sum, {record.md5}: fetch it again, or put it there by hand."
            )
    except InputError as error:
        part.unlink()
        raise InputError(f"What was fetched as {record.name} is not usable and was thrown away. {error}") from error
    known = recorded_hash(place)
    if known not in (None, digest):
        part.unlink()
        raise InputError(
            f"The address of {record.name} serves another file than it did at first (SHA-256 {digest[:12]}… instead of "
            f"{known[:12]}…), so it was not taken: if you trust the new one, run 'python -m xmem models --accept "
            f"{record.name}' and fetch again."
        )
    record_hash(place, digest)
    os.replace(part, place)


def accept(name: str) -> None:
    """Forget the hash recorded for the checkpoint `name`: its file, or its next fetch, is taken as it is then."""
    record = REGISTRY.get(name) or HELPERS.get(name)
    if record is None:
        raise unknown(name, (*REGISTRY, *HELPERS))
    place = folder() / record.file_name
    for path in [place / file for file in record.files] or [place]:
        _hash_file(path).unlink(missing_ok=True)


@contextmanager
def unchanged(path: Path, name: str) -> Iterator[None]:
    """Around the reading of a file of the checkpoint `name`: InputError where it is not the one that was fetched, or
    first read without an error, which is noted."""
    digest, known = file_hash(path), recorded_hash(path)
    if known not in (None, digest):
        raise InputError(
            f"{path.name!r} is not the file that was fetched or used at first (SHA-256 {digest[:12]}…, not "
            f"{known[:12]}…): delete it to fetch it again, or run 'python -m xmem models --accept {name}' if "
            "you replaced it."
        )
    yield
    if known is None:
        record_hash(path, digest)


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    digest = hashlib.new(algorithm, usedforsecurity=algorithm == "sha256")
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _hash_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def recorded_hash(path: Path) -> str | None:
    try:
        return _hash_file(path).read_text().split()[0]
    except (FileNotFoundError, IndexError):
        return None


def record_hash(path: Path, digest: str) -> None:
    try:
        _hash_file(path).write_text(f"{digest}  {path.name}\n")
    except OSError as error:  # a folder that is read-only cannot change either
        log.warning("The hash of %s cannot be recorded (%s).", path.name, error.strerror)
