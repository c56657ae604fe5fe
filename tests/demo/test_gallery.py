"""Stored sessions that come along: all open, with masks, and what is done to one is done to a copy."""

import hashlib
from types import SimpleNamespace

import av
import pytest

from demo.runs import settings
from demo.stage import gallery, video
from demo.visit import studio
from xmem.errors import InputError

NAMES = ["bunny", "repair", "bottle", "animals", "box", "chair"]


def test_there_are_six_small_ones_and_each_says_what_it_teaches():
    assert [piece.name for piece in gallery.pieces()] == NAMES
    assert sum(path.stat().st_size for path in gallery.FOLDER.iterdir()) < 7_000_000
    licence = (gallery.FOLDER / "LICENSE.md").read_text()
    assert all(f"`{piece.name}`" in licence and piece.teaches and piece.picture.is_file() for piece in gallery.pieces())
    with av.open(str(gallery.pieces()[0].film)) as film:
        shown = film.streams.video[0]
        assert shown.frames == 90 and not film.streams.audio, "the showcase plays all of it, and is silent"


@pytest.mark.parametrize("name", NAMES)
def test_each_opens_with_all_masks_and_nothing_to_compute(workspaces, name):
    request = SimpleNamespace(session_hash=name)
    piece, session = gallery.open_piece(request, name)
    assert session.pending() == [] and session.has_results
    assert all(session.has_result(frame) for frame in range(session.frame_count))
    assert session.mask(piece.frame).any()


def test_the_page_offers_the_settings_that_each_was_tracked_with(workspaces):
    for name in NAMES:
        _, session = gallery.open_piece(SimpleNamespace(session_hash=name), name)
        size = settings.values(session.settings)[2]
        choices = size["choices"] if isinstance(size, dict) else settings.size_choices()
        assert session.settings.size in [value for _, value in choices], name


def test_what_is_done_to_one_is_done_to_a_copy(workspaces):
    before = hashlib.sha256(gallery.pieces()[-1].bundle.read_bytes()).hexdigest()
    _, session = gallery.open_piece(SimpleNamespace(session_hash="a"), "chair")
    session.remove_object(1)
    _, again = gallery.open_piece(SimpleNamespace(session_hash="b"), "chair")
    assert again.objects and again.folder != session.folder
    assert hashlib.sha256(gallery.pieces()[-1].bundle.read_bytes()).hexdigest() == before


def test_undo_shows_the_failure_that_was_mended(workspaces):
    _, session = gallery.open_piece(SimpleNamespace(session_hash="a"), "repair")
    mended = (session.mask(60) > 0).sum()
    assert session.undo() and session.has_result(60)
    assert (session.mask(60) > 0).sum() < mended


def test_an_address_opens_a_piece_on_its_frame_or_on_another(workspaces, monkeypatch):
    shown = []
    monkeypatch.setattr(video.scene, "of_frame", lambda session, frame: shown.append(frame) or {})
    for address in ("?gallery=chair", "?gallery=chair&frame=8", "?gallery=chair&frame=9999", "?gallery=chair&frame=x"):
        video.come_back(address, SimpleNamespace(session_hash="a"))
    key = studio.key_of(SimpleNamespace(session_hash="a"))
    video.come_back(f"?session={key}&frame=3", SimpleNamespace(session_hash="b"))
    assert shown == [23, 7, 59, 23, 2]


def test_another_name_is_a_sentence(workspaces):
    with pytest.raises(InputError, match="choose among bunny"):
        gallery.open_piece(SimpleNamespace(session_hash="a"), "../secret")
