"""ZIPs from elsewhere: their table of contents is bounded before anybody makes objects of it."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

_ENTRY = b"PK\x01\x02"  # begins every entry of a table of contents
_BYTES_PER_ENTRY = 400  # on average at most: 46, a name, times
# What damaged ZIPs lead to, beside OSError.
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)


class TooManyFiles(ValueError):
    """A ZIP has more entries than allowed."""


def open_zip(path: Path, most: int) -> zipfile.ZipFile:
    """A ZIP for reading, of `most` entries at most; to be closed.

    Raises TooManyFiles, or one of UNREADABLE; OSError where the file cannot be read.
    """
    file = open(path, "rb")  # noqa: SIM115 - the archive closes it
    try:
        archive = _Archive(_Bounded(file, most))
        archive.own = file
        return archive
    except BaseException:
        file.close()
        raise


class _Archive(zipfile.ZipFile):
    """Closes its file, which zipfile leaves open where it did not open it itself."""

    own: BinaryIO | None = None

    def close(self) -> None:
        super().close()
        if self.own is not None:
            self.own.close()


class _Bounded:
    """A file of which nobody gets a table of contents with more entries than `most`."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self._most = file, most
        self.tell, self.close, self.seekable = file.tell, file.close, file.seekable

    def seek(self, place: int, whence: int = 0) -> int:
        if whence == 0 and place < 0:  # where a damaged table leads: not the disk's fault, which OSError would say
            raise zipfile.BadZipFile("a file before the beginning")
        return self._file.seek(place, whence)

    def read(self, size: int = -1) -> bytes:
        if size > self._most * _BYTES_PER_ENTRY + (1 << 20):
            raise TooManyFiles(self._most)
        data = self._file.read(size)
        if data.startswith(_ENTRY) and data.count(_ENTRY) > self._most:
            raise TooManyFiles(self._most)
        return data
