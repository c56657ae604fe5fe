"""Scores of a result against uploaded masks: every way in which people pack them, and every reason to refuse them."""

import random
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.hostile import mutated
from xmem.errors import InputError
from xmem.render.masks import write_index_mask
from xmem.scoring import quality
from xmem.scoring.metrics import boundary_accuracy, region_similarity
from xmem.scoring.quality import score
from xmem.session.bundle import read_bundle

SHAPE = (48, 64)
NAMES = [f"{n:05d}" for n in range(6)]


def squares(left: int = 10, ids=(1,)) -> np.ndarray:
    """A square of 12 pixels per id, one beside the other."""
    mask = np.zeros(SHAPE, np.uint8)
    for place, i in enumerate(ids):
        mask[10:22, left + 16 * place : left + 16 * place + 12] = i
    return mask


def truths(count: int = 6, ids=(1,)) -> list[np.ndarray]:
    return [squares(ids=ids) for _ in range(count)]


def folder_of(path: Path, masks, names=NAMES) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, mask in zip(names, masks, strict=False):
        write_index_mask(path / f"{name}.png", mask)
    return path


def packed(folder: Path) -> Path:
    """A ZIP of all in a folder."""
    path = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def zip_of(path: Path, masks, names=NAMES, below: str = "", extra: dict[str, bytes] | None = None) -> Path:
    files = folder_of(path.parent / "unpacked", masks, names)
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(files.iterdir()):
            archive.write(file, below + file.name)
        for name, data in (extra or {}).items():
            archive.writestr(name, data)
    return path


def shifted(frame: int) -> np.ndarray:
    """A result that is further off on each frame."""
    return squares(10 + frame)


def test_j_and_f_are_those_of_the_metrics_and_the_given_frame_is_not_scored(tmp_path):
    report = score(shifted, NAMES, zip_of(tmp_path / "t.zip", truths()), given=[0])
    assert [row.frame for row in report.rows] == [1, 2, 3, 4, 5]
    for row in report.rows:
        pred, truth = shifted(row.frame) == 1, squares() == 1
        assert row.j == region_similarity(pred, truth) and row.f == boundary_accuracy(pred, truth)
    assert report.j == pytest.approx(np.mean([row.j for row in report.rows]))
    assert report.jf == pytest.approx((report.j + report.f) / 2)
    assert report.worst(2) == [5, 4]


def test_any_given_frame_is_left_out_and_without_being_told_the_first(tmp_path):
    path = zip_of(tmp_path / "t.zip", truths())
    assert [row.frame for row in score(shifted, NAMES, path, given=[2, 4]).rows] == [0, 1, 3, 5]
    assert [row.frame for row in score(shifted, NAMES, path).rows] == [1, 2, 3, 4, 5]


def test_davis_leaves_the_last_frame_out_as_well(tmp_path):
    report = score(shifted, NAMES, zip_of(tmp_path / "t.zip", truths()), given=[0], davis=True)
    assert [row.frame for row in report.rows] == [1, 2, 3, 4]


def test_means_are_per_object_and_then_over_objects(tmp_path):
    path = zip_of(tmp_path / "t.zip", truths(ids=(1, 2)))

    def predicted(frame):
        mask = squares(ids=(1, 2))
        return mask if frame == 0 else np.where(mask == 2, 0, mask)

    report = score(predicted, NAMES, path, given=[0])
    assert [(o.id, o.j, o.f) for o in report.objects] == [(1, 1.0, 1.0), (2, 0.0, 0.0)]
    assert report.j == 0.5


@pytest.mark.parametrize("below", ["", "truth/", "a/b/c/", "DAVIS/Annotations/480p/bear/"])
def test_masks_are_found_at_any_depth(tmp_path, below):
    extra = {"__MACOSX/._00001.png": b"junk", ".DS_Store": b"", f"{below}._00002.png": b"junk", "readme.txt": b"hi"}
    report = score(shifted, NAMES, zip_of(tmp_path / "t.zip", truths(), below=below, extra=extra), given=[0])
    assert len(report.rows) == 5


def test_of_a_whole_data_set_only_the_masks_are_taken(tmp_path):
    folder = folder_of(tmp_path / "d" / "Annotations" / "480p" / "bear", truths()).parents[2]
    (folder / "JPEGImages/480p/bear").mkdir(parents=True)
    Image.new("RGB", (64, 48), "red").save(folder / "JPEGImages/480p/bear/00000.png")
    assert len(score(shifted, NAMES, packed(folder), given=[0]).rows) == 5


def test_several_sequences_at_once_are_refused(tmp_path):
    for name in ("bear", "camel"):
        folder_of(tmp_path / "d" / name, truths())
    with pytest.raises(InputError, match=r"2 folders .*bear.* of one video"):
        score(shifted, NAMES, packed(tmp_path / "d"))


@pytest.mark.parametrize(
    "names, files, expected",
    [
        (NAMES, ["00002", "00004"], [2, 4]),  # sparse
        (NAMES, ["frame_2", "frame_4"], [2, 4]),
        (NAMES, ["2", "4"], [2, 4]),
        (["b", "a_1", "c", "d"], ["a_1", "d"], [1, 3]),  # images of a folder, by their stems
        (["img7", "img8", "img9"], ["8_mask8", "mask9"], [1, 2]),  # their numbers, which do not begin at 0
        (["x", "y", "z"], ["1", "2"], [1, 2]),  # names without numbers: frames count from 0
        (NAMES, ["frame1", "frame2", "frame3", "frame4", "frame5", "frame6"], [0, 1, 2, 3, 4, 5]),  # from 1, complete
        (NAMES, [f"{n:05d}" for n in range(1, 7)], [0, 1, 2, 3, 4, 5]),
    ],
)
def test_masks_meet_their_frames_by_name_or_number(tmp_path, names, files, expected):
    path = zip_of(tmp_path / "t.zip", truths(), files)
    assert [row.frame for row in score(lambda frame: squares(), names, path, given=[]).rows] == expected


def test_a_complete_set_counted_without_zeros_is_taken_in_its_natural_order(tmp_path):
    names = [f"{n:05d}" for n in range(12)]
    masks = [squares(10 + n) for n in range(12)]
    path = zip_of(tmp_path / "t.zip", masks, [f"m{n}" for n in range(1, 13)])
    assert score(lambda frame: squares(10 + frame), names, path, given=[0]).j == 1


def test_objects_are_matched_by_where_they_lie_not_by_number(tmp_path):
    path = zip_of(tmp_path / "t.zip", truths(ids=(1, 2, 3)))
    report = score(lambda frame: squares(ids=(2, 7)), NAMES, path, given=[0])
    assert [(o.id, o.j) for o in report.objects] == [(2, 1.0), (7, 1.0)]
    assert report.left_out == (3,)
    assert np.array_equal(report.truth(3), squares(ids=(2, 7)))


def test_an_object_that_comes_later_is_matched_as_well(tmp_path):
    masks = [squares(ids=(1,) if n < 3 else (1, 2)) for n in range(6)]
    report = score(lambda frame: masks[frame], NAMES, zip_of(tmp_path / "t.zip", masks), given=[0])
    assert [(o.id, o.j) for o in report.objects] == [(1, 1.0), (2, 1.0)]


def white(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))


def rgba(mask: np.ndarray) -> Image.Image:
    image = white(mask).convert("RGBA")
    image.putalpha(255)
    return image


@pytest.mark.parametrize("form", [white, lambda mask: white(mask).convert("RGB"), rgba, Image.fromarray])
def test_masks_may_be_white_on_black_or_ids_and_empty_on_some_frames(tmp_path, form):
    folder = tmp_path / "t"
    folder.mkdir()
    for name, mask in zip(NAMES, [*truths(5), np.zeros(SHAPE, np.uint8)], strict=True):
        form(mask).save(folder / f"{name}.png")
    report = score(lambda frame: squares(), NAMES, packed(folder), given=[0])
    assert [row.j for row in report.rows] == [1, 1, 1, 1, 0]


def test_one_mask_is_held_at_a_time(tmp_path, monkeypatch):
    """A frame's mask is read when the frame is scored, not before."""
    log = []
    own = quality.Truth.own
    monkeypatch.setattr(quality.Truth, "own", lambda self, frame: log.append(("truth", frame)) or own(self, frame))
    monkeypatch.setattr(quality, "_MATCH_FRAMES", 1)
    score(lambda frame: log.append(("ours", frame)) or shifted(frame), NAMES, zip_of(tmp_path / "t.zip", truths()))
    scored = log[-10:]
    assert scored == [(side, frame) for frame in range(1, 6) for side in ("ours", "truth")]


def refused(tmp_path, path, match, names=NAMES, **options):
    with pytest.raises(InputError, match=match) as caught:
        score(shifted, names, path, **options)
    assert str(tmp_path) not in str(caught.value)  # people know their file by its name


def test_masks_of_another_size_are_refused(tmp_path):
    path = zip_of(tmp_path / "t.zip", [squares()[:40]] * 6)
    refused(tmp_path, path, r"'00000.png' is 64x40 but the video 64x48")


def test_names_that_no_frame_has_are_refused(tmp_path):
    refused(tmp_path, zip_of(tmp_path / "t.zip", truths(), ["100", "101"]), "'100' and so on, the frames '00000'")
    refused(tmp_path, zip_of(tmp_path / "u.zip", truths(), ["100", "101"]), "No known mask", names=["a", "b", "c"])


def test_masks_that_touch_no_object_are_refused(tmp_path):
    refused(tmp_path, zip_of(tmp_path / "t.zip", [squares()[::-1].copy()] * 6), "belong to this video")
    refused(tmp_path, zip_of(tmp_path / "t.zip", [np.zeros(SHAPE, np.uint8)] * 6), "belong to this video")


def test_masks_of_given_frames_alone_are_refused(tmp_path):
    refused(tmp_path, zip_of(tmp_path / "t.zip", truths(1)), "give masks of other frames as well", given=[0])


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x03\x04 cut"])
def test_what_is_no_zip_is_refused(tmp_path, content):
    (tmp_path / "t.zip").write_bytes(content)
    refused(tmp_path, tmp_path / "t.zip", "'t.zip' is not a readable ZIP")


def test_a_path_to_nothing_and_a_zip_without_masks_are_refused(tmp_path):
    refused(tmp_path, tmp_path / "none.zip", "There is no file 'none.zip'")
    refused(tmp_path, zip_of(tmp_path / "t.zip", [], extra={"a.txt": b"hi"}), "no PNG masks")


def test_a_png_that_is_none_is_refused_by_its_name(tmp_path):
    path = zip_of(tmp_path / "t.zip", [], extra={f"{name}.png": b"no image" for name in NAMES})
    refused(tmp_path, path, "'00000.png' is not a readable image")


def test_a_damaged_entry_is_refused_by_its_name(tmp_path):
    path = tmp_path / "t.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in NAMES:
            archive.writestr(f"{name}.png", b"abcdefgh" * 100)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"abcdefgh", b"abcdefgX", 1))  # the checksum no longer fits
    refused(tmp_path, path, "'00000.png' in the ZIP is damaged")


def test_an_encrypted_zip_is_refused(tmp_path):
    path = zip_of(tmp_path / "t.zip", truths())
    data = bytearray(path.read_bytes())
    central = data.find(b"PK\x01\x02")
    data[central + 8 : central + 10] = struct.pack("<H", 1)
    path.write_bytes(data)
    refused(tmp_path, path, "encrypted")


def test_a_zip_bomb_is_refused_without_being_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "MAX_BYTES", 100_000)
    path = tmp_path / "t.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in NAMES:
            archive.writestr(f"{name}.png", bytes(1_000_000))
    refused(tmp_path, path, "too large for a mask")
    monkeypatch.setattr(quality, "MAX_FILES", 5)
    refused(tmp_path, path, "more than 5 files")


def test_an_image_bomb_is_refused_by_its_size_before_it_is_decoded(tmp_path):
    folder = tmp_path / "t"
    folder.mkdir()
    Image.new("1", (9000, 9000)).save(folder / "00000.png")
    refused(tmp_path, packed(folder), "9000x9000 but the video 64x48")


def test_a_folder_is_no_zip_and_nothing_of_it_is_told(tmp_path):
    """A server's own folders are nobody's to look into."""
    folder = folder_of(tmp_path / "someone-else", truths())
    refused(tmp_path, tmp_path, "There is no file")
    refused(tmp_path, folder, "There is no file")
    with pytest.raises(InputError) as caught:
        score(shifted, NAMES, tmp_path)
    assert "someone-else" not in str(caught.value) and str(tmp_path.parent) not in str(caught.value)


def test_a_table_of_contents_of_two_million_entries_makes_no_objects(tmp_path, monkeypatch):
    """Neither here nor in bundles; a tenth of it is made for the test."""
    count = 200_000
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", *[0] * 9, 1, *[0] * 6) + b"a"
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count % 65_536, count % 65_536, count * len(entry), 0, 0)
    path = tmp_path / "t.zip"
    path.write_bytes(entry * count + end)
    with zipfile.ZipFile(path) as control:
        assert len(control.infolist()) == count
    monkeypatch.setattr(zipfile, "ZipInfo", lambda *_: pytest.fail("an entry was made an object"))
    refused(tmp_path, path, "more than 100,000 files")
    with pytest.raises(InputError, match="more than a bundle holds"):
        monkeypatch.setattr("xmem.session.bundle.MAX_FILES", count - 1)
        read_bundle(path, tmp_path / "opened")


def test_the_table_of_contents_is_read_once(tmp_path, monkeypatch):
    read = []
    real = zipfile.ZipFile.__init__
    monkeypatch.setattr(zipfile.ZipFile, "__init__", lambda *args, **more: read.append(1) or real(*args, **more))
    path = zip_of(tmp_path / "t.zip", truths())
    read.clear()
    report = score(shifted, NAMES, path)
    assert len(read) == 1
    assert report.truth(3).any() and report.truth(4).any() and len(read) == 2


def test_damaged_zips_of_masks_are_scored_or_refused(tmp_path):
    """A seeded sample of mutations, of the ZIP's own bytes."""
    rng, outcomes = random.Random(14), {"scored": 0, "refused": 0}
    whole = zip_of(tmp_path / "t.zip", truths()).read_bytes()
    for _ in range(100):
        (tmp_path / "m.zip").write_bytes(mutated(whole, rng))
        try:
            score(shifted, NAMES, tmp_path / "m.zip")
            outcomes["scored"] += 1
        except InputError as error:
            assert str(tmp_path) not in str(error)
            outcomes["refused"] += 1
    assert outcomes["refused"] > 50, outcomes
