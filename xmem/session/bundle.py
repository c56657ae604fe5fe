"""All of a piece of work as one ZIP, and back. What comes from elsewhere is unpacked with distrust."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Generator, Iterable
from pathlib import Path

from xmem.errors import InputError
from xmem.session.files import ExportProgress, plain_name
from xmem.zips import UNREADABLE, TooManyFiles, open_zip

PROJECT = "project.json"
EXPORTS_FOLDER = "exports"
# All that a session's folder may get from a bundle. A video that is a folder of images keeps their names.
_VIDEO = r"video(\.[a-z0-9]{1,7})?|video/[^/\\:*?\"<>|\x00-\x1f]{1,200}\.(?i:jpg|jpeg|png|webp|bmp)"
_FRAME = r"(\d{5}|[1-9]\d{5,8})"
_SPAN = r"spans/[1-9]\d{0,5}"
_TEXTS = rf"project\.json|cuts\.json|{_SPAN}/(span\.json|stats\.csv)"
_PICTURES = (
    r"background(\.[a-z0-9]{1,7})?|keyframes/[0-9a-f]{1,128}\.png|"
    rf"{_SPAN}/(masks|probabilities)/{_FRAME}\.png|{_SPAN}/probabilities/{_FRAME}\.npy\.zst"
)
_ALLOWED = re.compile(f"{_TEXTS}|{_PICTURES}|{_VIDEO}", re.ASCII)
_EXPORT = re.compile(EXPORTS_FOLDER + r"/[^/\\]+")  # nothing that a session needs: these stay in the ZIP
_TEXT = re.compile(r".*\.(json|csv)")

_CHUNK = 1 << 20  # bytes
MAX_FILES = 400_000
MAX_BYTES = 64 << 30  # unpacked
_MAX_TEXT = 64 << 20  # bytes of one JSON or CSV
_MAX_RATIO = 20  # unpacked to packed: videos and pictures do not shrink, tables by less than this
_KEPT_FREE = 256 << 20  # bytes of disk
_ADVICE = "give a bundle as it was saved"
_DAMAGED = "is not a bundle made by this program, or it is cut or damaged; save the bundle again and give that file"


def write_bundle(
    folder: Path, path: Path, exports: Iterable[Path], used: Iterable[str]
) -> Generator[ExportProgress, None, Path]:
    """Write a ZIP of the session in `folder` to `path`; yield bytes done of all, and return the path.

    used: files and folders to include, relative to `folder`. exports: files that come along in `exports/`.
    The file has its name only once it is complete; closing the generator, or a failure, leaves nothing.
    Raises ValueError for a file that no session has, InputError where the disk is full.
    """
    entries = _session_entries(folder, used)
    entries |= {f"{EXPORTS_FOLDER}/{plain_name(item.name)}": item for item in map(Path, exports)}
    total = sum(item.stat().st_size for item in entries.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as unfinished:
        partial = Path(unfinished) / "bundle.zip"
        try:
            with zipfile.ZipFile(partial, "w") as archive:
                done = 0
                for name, item in entries.items():
                    for size in _pack(archive, name, item):
                        done += size
                        yield ExportProgress(min(done, total), total)
        except OSError as error:
            raise _of_disk(error) from error
        os.replace(partial, path)
    return path


def read_bundle(bundle: Path, folder: Path) -> None:
    """Unpack a bundle into `folder`, which is new or empty; its exports stay in the ZIP.

    Only plain files of the names that sessions have are accepted, up to MAX_FILES and MAX_BYTES and what the disk can
    hold. Raises InputError for anything else, also for a bundle that is cut or damaged; then nothing is left behind.
    """
    if not bundle.is_file():
        raise InputError(f"There is no bundle {bundle.name!r}; check the path.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bundle-", dir=folder.parent) as unfinished:
        unpacked = Path(unfinished) / "session"
        unpacked.mkdir()
        try:
            with open_zip(bundle, MAX_FILES) as archive:
                for entry in _entries(archive, bundle, folder.parent):
                    _unpack(archive, entry, unpacked)
        except TooManyFiles as error:
            raise InputError(f"{bundle.name!r} would unpack to more than a bundle holds; {_ADVICE}.") from error
        except _UNREADABLE as error:
            raise InputError(f"{bundle.name!r} {_DAMAGED}.") from error
        except OSError as error:
            raise _of_disk(error) from error
        if folder.exists():
            folder.rmdir()  # empty, or an error
        os.replace(unpacked, folder)


# Names that stand in each other's way as file and folder are damage as well.
_UNREADABLE = (*UNREADABLE, FileExistsError, NotADirectoryError)


def _session_entries(folder: Path, used: Iterable[str]) -> dict[str, Path]:
    """Files by their name in the ZIP. Of a folder, what belongs to no session is left out."""
    entries: dict[str, Path] = {}
    for name in used:
        item = folder / name
        if item.is_dir():
            found = sorted(path for path in item.rglob("*") if path.is_file() and not path.is_symlink())
            names = {path.relative_to(folder).as_posix(): path for path in found}
            entries |= {inner: path for inner, path in names.items() if _ALLOWED.fullmatch(inner)}
        elif _ALLOWED.fullmatch(name):
            entries[name] = item
        else:
            raise ValueError(f"A session has no file {name!r}.")
    return entries


def _pack(archive: zipfile.ZipFile, name: str, path: Path) -> Generator[int, None, None]:
    """Copy one file in, chunk by chunk; yield bytes. Only text is worth deflating."""
    entry = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
    entry.compress_type = zipfile.ZIP_DEFLATED if _TEXT.fullmatch(name) else zipfile.ZIP_STORED
    with open(path, "rb") as source, archive.open(entry, "w") as target:
        while chunk := source.read(_CHUNK):
            target.write(chunk)
            yield len(chunk)


def _entries(archive: zipfile.ZipFile, bundle: Path, disk: Path) -> list[zipfile.ZipInfo]:
    """The entries to unpack. Raises InputError, before anything is written, for a bundle that may not be."""
    files = [entry for entry in archive.infolist() if not entry.is_dir()]
    wanted = [entry for entry in files if not _EXPORT.fullmatch(entry.filename)]
    names = [entry.filename for entry in wanted]
    videos = {name.split("/")[0] for name in names if re.fullmatch(_VIDEO, name)}
    for entry in wanted:
        if not _is_plain(entry):
            raise InputError(f"{bundle.name!r} holds {entry.filename[:80]!r}, which no bundle has; {_ADVICE}.")
    if len(set(names)) != len(names) or PROJECT not in names or len(videos) != 1:
        raise InputError(f"{bundle.name!r} {_DAMAGED}.")
    total = sum(entry.file_size for entry in wanted)
    if len(files) > MAX_FILES or total > MAX_BYTES or total > _MAX_RATIO * bundle.stat().st_size + _MAX_TEXT:
        raise InputError(f"{bundle.name!r} would unpack to more than a bundle holds; {_ADVICE}.")
    free = shutil.disk_usage(disk).free - _KEPT_FREE
    if total > free:
        raise InputError(
            f"{bundle.name!r} needs {_megabytes(total)} of disk, of which {_megabytes(max(0, free))} are free: "
            "free some space and try again."
        )
    return wanted


def _is_plain(entry: zipfile.ZipInfo) -> bool:
    """Whether it is a plain file of a name that sessions have, in a form that this program writes."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    return (
        _ALLOWED.fullmatch(entry.filename) is not None
        and kind in (0, stat.S_IFREG)
        and entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        and not entry.flag_bits & 1  # encrypted
        and (entry.file_size <= _MAX_TEXT or not _TEXT.fullmatch(entry.filename))
    )


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    """Copy one file out, chunk by chunk; never more than the entry announces."""
    path = folder.joinpath(*entry.filename.split("/"))
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with archive.open(entry) as source, open(path, "xb") as target:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > entry.file_size:
                raise zipfile.BadZipFile("more than announced")
            target.write(chunk)


def _of_disk(error: OSError) -> Exception:
    """What to raise: a full disk is the user's to know of."""
    if error.errno == errno.ENOSPC:
        return InputError("The disk is full: free some space and try again.")
    return error


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
