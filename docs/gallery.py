"""Track the gallery's clips anew, with the network as it is now: `python docs/gallery.py`.

Videos and painted masks are those in the bundles of demo/samples/gallery; the computed masks, and the pictures, are
made again. Of a piece with a later key frame, its tracks before that one are made as well, for Undo to show.
The first one is the showcase: it gets a film as well. `python docs/gallery.py --pictures` tracks nothing.
`python docs/gallery.py --clicks` makes nothing, and tells how near `xmem-click` comes to the painted masks by one to
three clicks, each where the mask errs most.
"""

import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from demo.stage.gallery import Piece, pieces
from xmem.checkpoints import load_model
from xmem.click import Clicker
from xmem.click.held import Click, Held
from xmem.networks import Network
from xmem.render.overlay import tint
from xmem.scoring.clicks import click_through, network_answer
from xmem.session import Session
from xmem.video.writer import H264, VideoWriter

WIDTH = 320  # pixels, of a picture
SHOWCASE_WIDTH = 640
FILM = replace(H264, options={"crf": "31", "preset": "veryslow", "bf": "0"}, sound=None)  # small; seen, not edited


def track(piece: Piece, folder: Path, model: Network) -> Session:
    """The session of a piece in `folder`, computed anew; without probabilities, which are large."""
    Session.open_bundle(piece.bundle, folder)
    shutil.rmtree(folder / "spans")
    (folder / "spans").mkdir()
    session = Session.open(folder)
    if len(session.key_frames) > 1:
        session.undo()
        _run(session, model)
        session.redo()
    _run(session, model)
    for kept in (folder / "spans").glob("*/*"):
        if kept.is_dir() and kept.name != "masks":
            shutil.rmtree(kept)
    return Session.open(folder)


def _run(session: Session, model: Network) -> None:
    for _ in session.propagate(model=model):
        pass


def draw(piece: Piece, session: Session, width: int) -> None:
    """The picture of a piece."""
    picture = tint(session.image(piece.frame), session.mask(piece.frame))
    height = round(width * picture.shape[0] / picture.shape[1])
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    Image.fromarray(small).save(piece.picture, quality=72)


def film(piece: Piece, session: Session) -> None:
    """All frames of a piece with their masks."""
    with session.access() as access, VideoWriter(piece.film, access, FILM) as writer:
        for frame in access.forward(session.first, session.last):
            writer.write(tint(frame.image, session.mask(frame.index)), frame)


def click() -> None:
    """IoU after each click on each object of the first painted frame of each piece; and after a box and two clicks."""
    clicker = Clicker()
    for piece in pieces():
        with tempfile.TemporaryDirectory() as folder:
            session = Session.open_bundle(piece.bundle, Path(folder) / "session")
            frame = session.key_frames[0].frame
            image, mask = session.image(frame), session.mask(frame)
            for item in session.objects:
                truth = mask == item.id
                if truth.any():
                    ious = click_through(truth, network_answer(clicker, image), most=3)
                    after_box = boxed(clicker.image(image), truth)
                    print(f"{piece.name}, {item.name}: {', '.join(f'{iou:.2f}' for iou in ious)}; box {after_box:.2f}")


def boxed(held: Held, truth: np.ndarray) -> float:
    """IoU after the box of an object, bool [H, W], and two clicks."""
    x, y, width, height = cv2.boundingRect(truth.view(np.uint8))

    def answer(clicks: list[Click]) -> np.ndarray:
        return held.mask(clicks, box=(x, y, x + width, y + height))

    return click_through(truth, answer, most=2, start=answer([]))[-1]


def main(tracks: bool) -> None:
    """All pieces, one after the other; tracks: anew, else their masks are those that they have."""
    model = load_model("xmem-lite") if tracks else None
    for place, piece in enumerate(pieces()):
        with tempfile.TemporaryDirectory() as folder:
            if model:
                session = track(piece, Path(folder) / "session", model)
                session.save_bundle(piece.bundle)
            else:
                session = Session.open_bundle(piece.bundle, Path(folder) / "session")
            draw(piece, session, WIDTH if place else SHOWCASE_WIDTH)
            if place == 0:
                film(piece, session)
            print(f"{piece.name}: {piece.bundle.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    if sys.argv[1:] == ["--clicks"]:
        click()
    else:
        main(tracks=sys.argv[1:] != ["--pictures"])
