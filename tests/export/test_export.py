"""What holds for every kind: whole files only, nothing left behind, flat memory, clear refusals."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from tests.export.discs import SAMPLE, DiscSource, finish
from xmem.errors import InputError
from xmem.export import EXPORTS, export
from xmem.session.project import SessionObject
from xmem.video import Frame

KINDS = sorted(EXPORTS)
PICTURED = {"overlay", "gif", "webp"}  # make sense without objects too


@pytest.mark.parametrize("kind", KINDS)
def test_closing_it_early_leaves_nothing(source, tmp_path, kind):
    steps = export(kind, source, tmp_path, "clip")
    for _ in range(3):
        next(steps)
    steps.close()
    assert list(tmp_path.iterdir()) == []
    assert source.closed == source.started, "the video's file is free again"


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_leaves_nothing_and_an_older_file_as_it_was(source, tmp_path, kind):
    old = tmp_path / f"clip{EXPORTS[kind].suffix}"
    old.write_bytes(b"old")
    whole = source.frames

    def broken(first=None, last=None):
        for place, tracked in enumerate(whole(first, last)):
            if place == 3 and first is None:
                raise RuntimeError("broken")
            yield tracked

    source.frames = broken
    with pytest.raises(RuntimeError, match="broken"):
        list(export(kind, source, tmp_path, "clip"))
    assert list(tmp_path.iterdir()) == [old] and old.read_bytes() == b"old"


def test_a_full_disk_is_said_in_one_sentence(source, tmp_path, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("xmem.export.tables.encode", full)
    with pytest.raises(InputError, match="disk is full"):
        list(export("coco", source, tmp_path, "clip"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", sorted(set(KINDS) - PICTURED))
def test_without_a_visible_object_there_is_nothing_to_export(source, tmp_path, kind):
    source.objects = (SessionObject(1, "bunny", 0, visible=False), SessionObject(3, "ball", 1, visible=False))
    with pytest.raises(InputError, match="visible"):
        next(export(kind, source, tmp_path, "clip"))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_kind_is_refused_with_the_known_ones(source, tmp_path):
    with pytest.raises(InputError, match="webm_alpha"):
        next(export("avi", source, tmp_path, "clip"))


@pytest.mark.parametrize("stem", ["", "../clip", "a/b"])
def test_the_file_stays_in_its_folder(source, tmp_path, stem):
    with pytest.raises(ValueError):
        next(export("csv", source, tmp_path / "inner", stem))
    assert not (tmp_path / "inner").exists()


def test_files_of_all_kinds_have_names_of_their_own():
    """All of them may go to one folder, and into one bundle."""
    assert len({kind.suffix for kind in EXPORTS.values()}) == len(EXPORTS)


def _at(frame: Frame, place: int) -> Frame:
    return replace(frame, index=place, time=place * frame.duration, name=f"{place:05d}")


class _Again(DiscSource):
    """The same few frames over and over, as one long video."""

    def frames(self, first=None, last=None):
        for place in range(self.first, self.last + 1) if first is None else (first,):
            tracked = self.kept[place % len(self.kept)]
            yield replace(tracked, frame=_at(tracked.frame, place))


@pytest.mark.parametrize("kind", KINDS)
def test_memory_does_not_grow_with_the_frames(tmp_path: Path, kind):
    """Python's own peak (arrays included) of eight times as many frames is hardly larger."""
    peaks = []
    for count in (6, 48):
        source = _Again(SAMPLE, 0, count - 1)
        source.kept = list(DiscSource(SAMPLE, 0, 3).frames())
        tracemalloc.start()
        finish(kind, source, tmp_path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 640 * 360 * 3, "one frame, for 42 more"
