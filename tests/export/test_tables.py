"""COCO as pycocotools reads it, and the table as any program reads it."""

import contextlib
import csv
import io

import numpy as np
import pytest
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO

from tests.export.discs import UNEVEN_SECONDS, finish
from xmem.export.rle import encode
from xmem.session.project import SessionObject


def _coco(path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (5, 4), (480, 854)])
@pytest.mark.parametrize("share", [0, 0.02, 0.5, 1])
def test_run_lengths_are_pycocotools_own(shape, share):
    """Letter by letter, also for empty and full masks and for runs over several columns."""
    mask = np.random.default_rng(1).random(shape) < share
    assert encode(mask) == coco_masks.encode(np.asfortranarray(mask.view(np.uint8)))["counts"].decode()


def test_a_long_run_is_written_in_full():
    """A difference of more than a million pixels takes five groups of bits, and its reverse is negative."""
    mask = np.zeros((2000, 3000), bool)
    mask[:, [0, 1, 1200]] = True
    mask[3, 2900] = True
    assert encode(mask) == coco_masks.encode(np.asfortranarray(mask.view(np.uint8)))["counts"].decode()


def test_coco_gives_the_masks_back(source, tmp_path):
    source.gone = 44
    coco = _coco(finish("coco", source, tmp_path))
    assert [item["name"] for item in coco.loadCats(coco.getCatIds())] == ["bunny", 'ball, "red"']
    images = coco.loadImgs(sorted(coco.getImgIds()))
    assert [image["frame_index"] for image in images] == list(range(40, 48))
    assert images[0]["file_name"] == "00040.png" and (images[0]["width"], images[0]["height"]) == (640, 360)
    seen = 0
    for image in images:
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        index = np.zeros((360, 640), np.uint8)
        for item in annotations:
            mask = coco.annToMask(item).astype(bool)
            index[mask] = item["track_id"]
            assert item["category_id"] == item["track_id"] and item["iscrowd"] == 0
            assert item["area"] == mask.sum() == coco_masks.area(item["segmentation"])
            assert item["bbox"] == coco_masks.toBbox(item["segmentation"]).tolist()
            seen += 1
        assert (index == source.mask(image["frame_index"])).all()
    assert seen == 8 + 4
    scores = {item.get("score") for item in coco.loadAnns(coco.getAnnIds())}
    assert scores == {None, 0.9375, 0.5}, "none on the frame that nothing was computed for"


def test_coco_without_anything_seen_is_still_a_file(source, tmp_path):
    source.mattes = lambda frame: {i: np.zeros((360, 640), np.uint8) for i in (1, 3)}
    coco = _coco(finish("coco", source, tmp_path))
    assert len(coco.getImgIds()) == 8 and not coco.getAnnIds()


def _rows(path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_table_of_box_area_centroid_and_certainty(source, tmp_path):
    source.gone = 44
    rows = _rows(finish("csv", source, tmp_path))
    assert [(int(row["frame"]), int(row["object"])) for row in rows] == [(f, i) for f in range(40, 48) for i in (1, 3)]
    for row in rows:
        mask = source.mask(int(row["frame"])) == int(row["object"])
        assert int(row["area"]) == mask.sum()
        if not mask.any():
            assert row["x"] == row["width"] == row["centroid_y"] == ""
            continue
        ys, xs = np.nonzero(mask)
        box = [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
        assert [int(row[name]) for name in ("x", "y", "width", "height")] == box
        assert float(row["centroid_x"]) == pytest.approx(xs.mean(), abs=0.006)
        assert float(row["centroid_y"]) == pytest.approx(ys.mean(), abs=0.006)
    assert {row["name"] for row in rows} == {"bunny", 'ball, "red"'}, "names may hold commas and quotes"
    assert [row["certainty"] for row in rows[:4]] == ["", "", "0.9375", "0.5000"]


def test_times_count_from_the_first_exported_frame(uneven, tmp_path):
    uneven.objects = (SessionObject(1, "Häschen", 0), SessionObject(3, "ball", 4, visible=False))
    rows = _rows(finish("csv", uneven, tmp_path))
    assert [float(row["time"]) for row in rows] == pytest.approx(UNEVEN_SECONDS)
    assert [float(row["source_time"]) for row in rows] == pytest.approx([0.1 + time for time in UNEVEN_SECONDS])
    assert {row["name"] for row in rows} == {"Häschen"}, "what is hidden is left out"


@pytest.mark.parametrize("name", ['=HYPERLINK("http://a.example")', "+1", "-1+1", "@SUM(A1)", "＝1+1", "\t=1"])
def test_a_name_is_never_a_formula(source, tmp_path, name):
    """Spreadsheets compute what begins so, and a stranger may have named the object in a bundle."""
    source.objects = (SessionObject(1, name, 0), SessionObject(3, "a-b=c", 4))
    rows = _rows(finish("csv", source, tmp_path))
    assert {row["name"] for row in rows} == {f"'{name}", "a-b=c"}
