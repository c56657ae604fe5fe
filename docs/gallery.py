"""Track the gallery's clips anew, with the network as it is now: `python docs/gallery.py`.

Videos and painted masks are those in the bundles of demo/samples/gallery; the computed masks, and the pictures, are
made again. Of a piece with a later key frame, its tracks before that one are made as well, for Undo to show.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import cv2
from PIL import Image

from demo.stage.gallery import Piece, pieces
from xmem.checkpoints import load_model
from xmem.networks import Network
from xmem.render.overlay import tint
from xmem.session import Session

WIDTH = 320  # pixels, of a picture


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


def main() -> None:
    """All pieces, one after the other."""
    model = load_model("xmem-lite")
    for piece in pieces():
        with tempfile.TemporaryDirectory() as folder:
            session = track(piece, Path(folder) / "session", model)
            picture = tint(session.image(piece.frame), session.mask(piece.frame))
            height = round(WIDTH * picture.shape[0] / picture.shape[1])
            small = cv2.resize(picture, (WIDTH, height), interpolation=cv2.INTER_AREA)
            Image.fromarray(small).save(piece.picture, quality=72)
            session.save_bundle(piece.bundle)
            print(f"{piece.name}: {piece.bundle.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    sys.exit(main())
