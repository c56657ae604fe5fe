"""Files of a session's folder: the video as it came in, small tables written in one replace."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmem.errors import InputError


def check_new(folder: Path) -> None:
    """Raise InputError unless `folder` is new or empty."""
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"The folder {folder.name!r} is not empty: choose a new one for the session.")


def link_or_copy(source: Path, target: Path) -> None:
    """Link a file, or the files of a folder, where the file system can; else copy."""
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_link_or_copy_file)
    else:
        _link_or_copy_file(str(source), str(target))


def plain_suffix(path: Path) -> str:
    """The suffix of an upload, without anything that a file system could mind."""
    return re.sub(r"[^.a-z0-9]", "", path.suffix.lower())[:8]


def read_table(path: Path) -> Any:
    """What a JSON file holds; None where there is none."""
    return json.loads(path.read_text()) if path.exists() else None


def write_table(path: Path, values: Any) -> None:
    """Write a JSON file in one replace."""
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(values))
    os.replace(temporary, path)


def _link_or_copy_file(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
    return target


@dataclass(frozen=True)
class ExportProgress:
    """How far an export is. done, total: frames; of a bundle, bytes."""

    done: int
    total: int


def plain_name(text: str) -> str:
    """A name that every file system takes, for folders and files inside a ZIP."""
    return re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", text).strip(" .") or "_"
