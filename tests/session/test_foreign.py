"""Bundles from strangers: whatever is wrong in one is noticed before anybody works on it, in a sentence."""

import io
import json
import random
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_model import write_tiny_model

from tests.hostile import MEGABYTE, memory_rise, mutated, png
from tests.session.scene import HEIGHT, SETTINGS, WIDTH, images, square
from tests.video.clips import write_clip
from xmem import InputError, Session, load_model
from xmem.limits import Limits
from xmem.render.styles import Style
from xmem.session.probabilities import packed
from xmem.session.project import read_project

COUNT = 6
Entries = dict[str, bytes]


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> tuple[Session, Entries]:
    return made(tmp_path_factory.mktemp("work"))


def made(folder: Path) -> tuple[Session, Entries]:
    """A session with all that a bundle may hold, and the files of its bundle."""
    session = Session.create(write_clip(folder / "clip.mp4", images(COUNT)), folder / "session")
    session.set_key_frame(0, square(4))
    session.set_key_frame(4, square(20) + square(60, object_id=2))
    session.update_object(1, name="The cat")
    list(session.propagate(SETTINGS, load_model(str(write_tiny_model(folder / "tiny.safetensors")), "cpu")))
    session.set_key_frame(2, square(10))
    session.undo()
    Image.new("RGB", (20, 20), "red").save(folder / "red.png")
    session.set_style(Style("cutout_image", image=str(folder / "red.png")))
    (session.folder / "cuts.json").write_text("[3]")
    with zipfile.ZipFile(session.save_bundle(folder / "bundle.zip")) as archive:
        return session, {name: archive.read(name) for name in archive.namelist()}


def zipped(entries: Entries, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def use(session: Session) -> None:
    """Every question that may be asked of a session."""
    session.pending(), session.settings, session.style, session.name, session.info
    for frame in range(session.frame_count):
        session.mask(frame), session.has_result(frame)
        for item in session.objects:
            session.matte(frame, item.id)
    session.stats(), session.cuts(), session.suggestions()
    for shown in session.frames():
        shown.certainty.values()
    while session.undo():
        session.pending(), session.mask(session.first)
    while session.redo():
        session.pending()


def fate_of(entries: Entries, folder: Path) -> str:
    """Whether a bundle opens; nothing but InputError leaves it, and a refusal leaves nothing."""
    bundle, target = zipped(entries, folder / "bundle.zip"), folder / "opened"
    try:
        session = Session.open_bundle(bundle, target)
    except InputError as error:
        assert str(folder) not in str(error) and "\n" not in str(error)
        assert not target.exists()
        return "refused"
    try:
        use(session)
    except InputError:
        return "damaged"
    finally:
        for path in sorted(target.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        target.rmdir()
    return "opened"


def test_the_whole_bundle_opens(work, tmp_path):
    assert len(work[1]) > 15 and fate_of(work[1], tmp_path) == "opened"


def changed(entries: Entries, name: str, change: Callable) -> Entries:
    """With a change to what a JSON file holds."""
    values = json.loads(entries[name])
    change(values)
    return entries | {name: json.dumps(values).encode()}


def _many_keys(project: dict) -> None:
    key = project["edit"]["key_frames"][0]
    project["edit"]["key_frames"] = [key | {"frame": frame} for frame in range(30_000)]


PROJECTS = {
    "30,000 key frames": _many_keys,
    "a key frame beyond the end": lambda p: p["edit"]["key_frames"][0].update(frame=99),
    "two key frames on one frame": lambda p: p["edit"]["key_frames"].append(p["edit"]["key_frames"][-1]),
    "an object twice": lambda p: p["edit"]["objects"].append(p["edit"]["objects"][0]),
    "an id that no mask can show": lambda p: p["edit"]["objects"][0].update(id=256),
    "an id that is no number": lambda p: p["edit"]["objects"][0].update(id="1"),
    "a colour that there is not": lambda p: p["edit"]["objects"][0].update(color=99),
    "a name of several lines": lambda p: p["edit"]["objects"][0].update(name="a\nb"),
    "a name without end": lambda p: p["edit"]["objects"][0].update(name="a" * 41),
    "a mask in another folder": lambda p: p["edit"]["key_frames"][0].update(mask="../../etc/passwd"),
    "a key frame of an unknown object": lambda p: p["edit"]["key_frames"][0].update(objects=[7]),
    "a video elsewhere": lambda p: p.update(video="../video.mp4"),
    "an image elsewhere": lambda p: p["style"].update(image="/etc/passwd"),
    "frames that are none": lambda p: p.update(first=5, last=2),
    "another number of frames": lambda p: p.update(frame_count=COUNT - 1, last=COUNT - 2),
    "an entry of another program": lambda p: p.update(owner="somebody"),
    "a setting of another program": lambda p: p["settings"].update(owner="somebody"),
    "memories without end": lambda p: p["settings"]["memory"].update(max_long_term=10**30),
    "another device": lambda p: p["settings"].update(device="file:///etc/passwd"),
    "not even a table": lambda p: p.clear(),
    "an id used again": lambda p: p.update(next_object=1),
}


@pytest.mark.parametrize("change", PROJECTS.values(), ids=PROJECTS)
def test_projects_that_no_session_has(work, tmp_path, change):
    assert fate_of(changed(work[1], "project.json", change), tmp_path) == "refused"


SPANS = {
    "frames that are none": lambda s: s.update(first=3, last=1),
    "frames beyond the end": lambda s: s.update(start=None, end=None, forward=False, backward=False, last=999),
    "an anchor of text": lambda s: s.update(start="key"),
    "no objects": lambda s: s.update(objects=[]),
    "an object that is no number": lambda s: s.update(objects=["cat"]),
    "a blend without an end": lambda s: s.update(end=None, forward=True, backward=True),
    "no signature": lambda s: s.pop("signature"),
    "an inference size that is none": lambda s: s["signature"].update(size="large"),
    "an inference size that its files do not have": lambda s: s["signature"].update(size=480),
    "more objects than its files have": lambda s: s.update(objects=[1, 2, 3, 4, 5]),
    "completeness in words": lambda s: s.update(complete="yes"),
}


@pytest.mark.parametrize("change", SPANS.values(), ids=SPANS)
def test_results_that_no_run_leaves(work, tmp_path, change):
    assert fate_of(changed(work[1], "spans/1/span.json", change), tmp_path) == "refused"


@pytest.mark.parametrize("text", ["[6]", "[-1]", '["a"]', "{}", "[1.5]", "", "[" * 100_000, "[1e400]"])
def test_cuts_that_no_video_has(work, tmp_path, text):
    assert fate_of(work[1] | {"cuts.json": text.encode()}, tmp_path) == "refused"


def _grey_deep(height: int, width: int) -> bytes:
    return cv2.imencode(".png", np.zeros((height, width), np.uint16))[1].tobytes()


@pytest.mark.parametrize(
    "name, data",
    [
        ("spans/1/probabilities/00001.npy.zst", packed(np.zeros((1, HEIGHT, WIDTH + 1), np.uint16))),
        ("spans/1/probabilities/00001.npy.zst", packed(np.zeros((3, HEIGHT, WIDTH), np.uint16))),
        ("spans/1/probabilities/00001.npy.zst", b"no array"),
        ("spans/1/probabilities/00001.npy.zst", b""),
        ("spans/1/masks/00001.png", _grey_deep(8, 8)),
        ("spans/1/masks/00001.png", b""),
        ("spans/1/stats.csv", b"frame\n" + b"\xff\xfe" * 9),
        ("spans/1/stats.csv", b"frame\n" + b"x" * 200_000),
        ("background.png", b"no picture"),
    ],
)
def test_files_that_no_run_leaves(work, tmp_path, name, data):
    assert name in work[1]
    assert fate_of(work[1] | {name: data}, tmp_path) == "refused"


def of_before(entries: Entries, data: bytes) -> Entries:
    """With a frame's probabilities as programs of before wrote them."""
    rest = {name: own for name, own in entries.items() if name != "spans/1/probabilities/00001.npy.zst"}
    return rest | {"spans/1/probabilities/00001.png": data}


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH + 1), (HEIGHT * 3 + 1, WIDTH), None], ids=str)
def test_probabilities_of_before_that_no_run_left(work, tmp_path, shape):
    assert fate_of(of_before(work[1], _grey_deep(*shape) if shape else b"no picture"), tmp_path) == "refused"


def test_probabilities_of_16384_pixels_a_side_are_refused_by_their_header(work, tmp_path):
    """Five megabytes as a file, 3.5 GB as floats."""
    huge = png(tmp_path / "huge.png", 16_384, 16_384, 16).read_bytes()
    bundle = zipped(of_before(work[1], huge), tmp_path / "bundle.zip")

    def attempt() -> None:
        with pytest.raises(InputError, match="16384x16384, more than the 128 megapixels"):
            Session.open_bundle(bundle, tmp_path / "opened")

    assert memory_rise(attempt) < 60 * MEGABYTE


def test_a_chunk_that_claims_gigabytes_takes_no_room(work, tmp_path):
    """OpenCV takes 4 GB for it."""
    whole = _grey_deep(HEIGHT, WIDTH)
    damaged = whole[:33] + b"\x7f\xff\xff\xff" + whole[37:]
    bundle = zipped(of_before(work[1], damaged), tmp_path / "bundle.zip")
    session = Session.open_bundle(bundle, tmp_path / "opened")

    def attempt() -> None:
        with suppress(InputError):  # or as much of the picture as is there
            session.matte(1, 1)

    assert memory_rise(attempt) < 60 * MEGABYTE


def test_figures_are_read_where_they_are_figures(work, tmp_path):
    """Lines that are none are left out, as after a crash; so are those of frames and objects that the span lacks."""
    _, entries = work
    rows = entries["spans/1/stats.csv"].decode().splitlines()
    bad = ["0,1,nan,1,1,,,,,,", "1,1,5,inf,1,0,0,2,2,1,1", "1,1,5,0.5,2,0,0,2,2,1,1", "2,1,5,1,1,0,0,2,2,nan,inf"]
    bad += [
        "9" * 5000 + ",1,5,1,1,0,0,2,2,1,1",
        "1,300,5,1,1,0,0,2,2,1,1",
        "3,1,5,1,1,0,0,,2,1,1",
        "5555,1,5,1,1,,,,,,",
    ]
    table = "\n".join([*rows, *bad]).encode()
    session = Session.open_bundle(
        zipped(entries | {"spans/1/stats.csv": table}, tmp_path / "b.zip"), tmp_path / "opened"
    )
    assert session.stats() == work[0].stats()


def test_no_more_key_frames_than_allowed(work, tmp_path, monkeypatch):
    """Neither painted one by one nor in a bundle."""
    allowed = Limits(key_frames=3)
    monkeypatch.setattr("xmem.limits.limits", lambda: allowed)
    copy = Session.open_bundle(zipped(work[1], tmp_path / "b.zip"), tmp_path / "copy")
    for frame in (5, 4):  # a third one, and one in place of another
        copy.set_key_frame(frame, square(30))
    with pytest.raises(InputError, match="3 key frames at most"):
        copy.set_key_frame(1, square(30))
    assert read_project(copy.folder / "project.json") == copy._project
    allowed = Limits(key_frames=2)
    with pytest.raises(InputError, match="2 key frames at most"):
        Session.open_bundle(zipped(work[1], tmp_path / "b.zip"), tmp_path / "again")


def test_colours_that_there_are_not_never_reach_the_project(work, tmp_path):
    copy = Session.open_bundle(zipped(work[1], tmp_path / "b.zip"), tmp_path / "copy")
    for color in (99, -1, 1.5, "red"):
        with pytest.raises(InputError, match="Colours are whole numbers"):
            copy.set_key_frame(3, square(30, object_id=5), {5: color})
    assert read_project(copy.folder / "project.json") == copy._project


def test_a_file_whose_name_is_no_text_makes_a_session_that_opens_again(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", images(2))
    Session.create(clip, tmp_path / "work", name="cl\udcffip" + "x" * 300)
    assert Session.open(tmp_path / "work").name.startswith("cl?ip")


def test_a_file_before_the_beginning_of_the_zip_is_the_zips_fault(work, tmp_path):
    """And not the disk's, which is another sentence."""
    path = zipped(work[1], tmp_path / "bundle.zip")
    data = bytearray(path.read_bytes())
    place = data.rindex(b"PK\x05\x06") + 16  # where the table of contents begins, by which all else is moved
    data[place : place + 4] = (int.from_bytes(data[place : place + 4], "little") + 10_000_000).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(InputError):
        Session.open_bundle(path, tmp_path / "opened")


# Mutations


def broken(entries: Entries, rng: random.Random) -> Entries:
    """One file of a bundle with damage: in its bytes, in its values, or exchanged for another."""
    name = rng.choice(sorted(entries))
    if name.endswith(".json") and rng.random() < 0.8:
        values = json.loads(entries[name])
        for _ in range(rng.choice((1, 1, 2))):
            values = _with_damage(values, rng)
        return entries | {name: json.dumps(values).encode()}
    if name.endswith(".csv") and rng.random() < 0.8:
        cells = [line.split(",") for line in entries[name].decode().split("\n")]
        line = rng.choice(cells)
        line[rng.randrange(len(line))] = rng.choice(("", "-1", "nan", "1e999", "9" * 50, '"', "=1+1", "\0", "x", "٣"))
        return entries | {name: "\n".join(map(",".join, cells)).encode()}
    if rng.random() < 0.1:
        return {other: data for other, data in entries.items() if other != name}
    if rng.random() < 0.2:
        return entries | {name: entries[rng.choice(sorted(entries))]}
    if name.endswith(".png") and rng.random() < 0.5:
        return entries | {name: _picture(rng)}
    return entries | {name: mutated(entries[name], rng)}


_ODD = (
    None,
    True,
    -1,
    0,
    1,
    255,
    256,
    2**31,
    10**30,
    0.5,
    float("nan"),
    float("inf"),
    "",
    "x",
    "../x",
    [],
    {},
    [[]],
    [0],
)


def _with_damage(values: object, rng: random.Random) -> object:
    """Another value, one less or one more, somewhere inside."""
    if isinstance(values, dict) and values and rng.random() < 0.9:
        name = rng.choice(sorted(values))
        if rng.random() < 0.1:
            return {key: value for key, value in values.items() if key != name}
        if rng.random() < 0.1:
            return values | {name + "x": rng.choice(_ODD)}
        return values | {name: _with_damage(values[name], rng)}
    if isinstance(values, list) and values and rng.random() < 0.8:
        place = rng.randrange(len(values))
        middle = [_with_damage(values[place], rng)] if rng.random() < 0.8 else [values[place]] * rng.choice((0, 2, 300))
        return [*values[:place], *middle, *values[place + 1 :]]
    return rng.choice(_ODD)


def _picture(rng: random.Random) -> bytes:
    file = io.BytesIO()
    size = rng.choice(((WIDTH, HEIGHT), (HEIGHT, WIDTH), (1, 1), (WIDTH, 3 * HEIGHT)))
    Image.new(rng.choice(("L", "P", "RGB", "RGBA", "I;16", "1")), size).save(file, "PNG")
    return file.getvalue()


def test_damaged_bundles_are_refused_or_serve(work, tmp_path):
    """A seeded sample of mutations; most are refused at once, some show only where the damaged part is asked for."""
    rng, outcomes = random.Random(14), {"opened": 0, "damaged": 0, "refused": 0}
    for _ in range(150):
        outcomes[fate_of(broken(work[1], rng), tmp_path)] += 1
    assert outcomes["refused"] > 50 and outcomes["opened"] > 10, outcomes
