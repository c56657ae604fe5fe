"""Sessions that come along: clips with their masks, tracked ahead, each with a line on what it teaches.

The first one is the showcase: it plays on the empty page, where it is in sight, for whoever has not asked for calm.
"""

from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

import gradio as gr
from pydantic import TypeAdapter

from demo.stage.parts import part
from demo.visit import studio
from xmem.errors import InputError
from xmem.resources import RESTORE
from xmem.session import Session

FOLDER = Path(__file__).parents[1] / "samples" / "gallery"


@dataclass(frozen=True)
class Piece:
    """name: of its files and in addresses; title, teaches: for people; frame: where it is opened, from 0."""

    name: str
    title: str
    teaches: str
    frame: int

    @property
    def bundle(self) -> Path:
        return FOLDER / f"{self.name}.zip"

    @property
    def picture(self) -> Path:
        """A frame with its masks, 320 pixels wide; 640 of the showcase."""
        return FOLDER / f"{self.name}.webp"

    @property
    def film(self) -> Path:
        """All frames with their masks; of the showcase alone."""
        return FOLDER / f"{self.name}.mp4"


_PIECES = TypeAdapter(tuple[Piece, ...])


@cache
def pieces() -> tuple[Piece, ...]:
    """Those that are there, in the order in which they are shown; none where the package came without them."""
    try:
        listed = _PIECES.validate_json((FOLDER / "gallery.json").read_bytes())
    except FileNotFoundError:
        return ()
    return tuple(piece for piece in listed if piece.bundle.is_file())


def build_showcase() -> None:
    """The first piece, playing: a link to the page with it open."""
    for piece in pieces()[:1]:
        gr.HTML(
            f'<div class="showcase"><a href="?gallery={piece.name}">'
            f'<video loop muted playsinline preload="none" poster="{_address(piece.picture)}" aria-hidden="true" '
            f'tabindex="-1" data-file="{escape(piece.film.as_posix())}"></video>{_words(piece)}</a>'
            f'<button type="button" aria-label="Play" title="Play"></button></div>',
            js_on_load=part("showcase.js"),
            apply_default_css=False,
            elem_id="showcase",
        )


def build() -> None:
    """A card for each of the other pieces: a link to the page with it open, which anybody may copy."""
    cards = "".join(
        f'<li><a href="?gallery={piece.name}"><img src="{_address(piece.picture)}" alt="" width="320" height="200">'
        f"{_words(piece)}</a></li>"
        for piece in pieces()[1:]
    )
    if cards:
        said = f'<p class="group">Look at one that is done</p><ul class="pieces">{cards}</ul>'
        gr.HTML(said, apply_default_css=False, elem_id="gallery")


def _words(piece: Piece) -> str:
    return f"<b>{escape(piece.title)}</b><span>{escape(piece.teaches)}</span>"


def _address(picture: Path) -> str:
    return "data:image/webp;base64," + b64encode(picture.read_bytes()).decode()


def open_piece(request: gr.Request | None, name: str) -> tuple[Piece, Session]:
    """Begin a session with a copy of a stored one; nothing is computed. Raises InputError where there is none."""
    known = {piece.name: piece for piece in pieces()}
    if not known:
        raise InputError(f"The gallery is missing: {RESTORE}.")
    if name not in known:
        raise InputError(f"The gallery has no {name[:40]!r}: choose among {', '.join(known)}.")
    return known[name], studio.resume_session(request, known[name].bundle)
