"""`xmem click`: a picture and places become a mask file."""

import numpy as np
from PIL import Image

from tests.click.conftest import picture, random_weights  # noqa: F401
from xmem import cli
from xmem.click import Held


def test_clicks_become_a_mask_file(tmp_path, random_weights, capsys, monkeypatch):  # noqa: F811
    asked = []

    def mask(self, clicks, box, previous):
        asked.append((clicks, box))
        return picture()[1]

    monkeypatch.setattr(Held, "mask", mask)
    Image.fromarray(picture()[0]).save(tmp_path / "photo.png")
    words = ["--at", "50,70", "--at", "52.5,70", "--not", "150,70", "--box", "10,20,90,130"]
    out = ["--output", str(tmp_path / "mask.png"), "--model", str(random_weights), "--device", "cpu"]
    assert cli.main(["click", str(tmp_path / "photo.png"), *words, *out]) == 0
    assert asked == [([(50, 70, True), (52.5, 70, True), (150, 70, False)], (10, 20, 90, 130))]
    assert np.array_equal(np.array(Image.open(tmp_path / "mask.png")), picture()[1])
    assert "% of the image" in capsys.readouterr().out


def test_words_become_a_mask_file_which_clicks_correct(tmp_path, random_weights, monkeypatch):  # noqa: F811
    asked, (image, disc, square) = [], picture()

    class Finding:
        def __init__(self, device):
            assert device == "cpu"

        def mask(self, held, words):
            assert np.array_equal(held.image, image) and words == "a disc"
            return disc

    def mask(self, clicks, box, previous):
        asked.append((clicks, box, previous))
        return square

    monkeypatch.setattr("xmem.cli.click.Words", Finding)
    monkeypatch.setattr(Held, "mask", mask)
    Image.fromarray(image).save(tmp_path / "photo.png")
    out = ["--output", str(tmp_path / "mask.png"), "--model", str(random_weights), "--device", "cpu"]
    assert cli.main(["click", str(tmp_path / "photo.png"), "--words", "a disc", *out]) == 0
    assert np.array_equal(np.array(Image.open(tmp_path / "mask.png")), disc) and not asked
    assert cli.main(["click", str(tmp_path / "photo.png"), "--words", "a disc", "--not", "3,4", *out]) == 0
    assert np.array_equal(np.array(Image.open(tmp_path / "mask.png")), square)
    assert asked[0][0] == [(3, 4, False)] and asked[0][2] is disc


def test_where_nothing_is_found_no_file_is_written(tmp_path, random_weights, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setattr(Held, "mask", lambda self, clicks, box, previous: np.zeros((140, 200), bool))
    Image.fromarray(picture()[0]).save(tmp_path / "photo.png")
    out = ["--output", str(tmp_path / "mask.png"), "--model", str(random_weights), "--device", "cpu"]
    assert cli.main(["click", str(tmp_path / "photo.png"), "--at", "5,5", *out]) == 1
    assert "Nothing was found there" in capsys.readouterr().err and not (tmp_path / "mask.png").exists()
