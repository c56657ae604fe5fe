"""Sessions that come along: clips with their masks, tracked ahead, each with a line on what it teaches."""

from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

import gradio as gr
from pydantic import TypeAdapter

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
        """A frame with its masks, 320 pixels wide."""
        return FOLDER / f"{self.name}.webp"


_PIECES = TypeAdapter(tuple[Piece, ...])


@cache
def pieces() -> tuple[Piece, ...]:
    """Those that are there, in the order in which they are shown; none where the package came without them."""
    try:
        listed = _PIECES.validate_json((FOLDER / "gallery.json").read_bytes())
    except FileNotFoundError:
        return ()
    return tuple(piece for piece in listed if piece.bundle.is_file())


def build() -> None:
    """A card for each piece: a link to the page with it open, which anybody may copy."""
    cards = "".join(
        f'<li><a href="?gallery={piece.name}"><img src="{_address(piece.picture)}" alt="" width="320" height="200">'
        f"<b>{escape(piece.title)}</b><span>{escape(piece.teaches)}</span></a></li>"
        for piece in pieces()
    )
    if cards:
        gr.HTML(f'<p class="group">Look at one that is done</p><ul class="pieces">{cards}</ul>', elem_id="gallery")


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
