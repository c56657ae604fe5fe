"""A bundle brings a session's folder back, and nothing that is no bundle gets anywhere."""

import io
import os
import random
import shutil
import stat
import zipfile
from pathlib import Path

import pytest

from xmem.errors import InputError
from xmem.session import bundle
from xmem.session.bundle import read_bundle, write_bundle
from xmem.session.files import ExportProgress

FILES = {
    "project.json": b'{"version": 1}',
    "video.mp4": os.urandom(3_000_000),
    "cuts.json": b"[]",
    "background.png": os.urandom(100),
    "keyframes/0a1b.png": os.urandom(200),
    "spans/1/span.json": b"{}",
    "spans/1/stats.csv": b"frame,object\n",
    "spans/1/masks/00000.png": os.urandom(50),
    "spans/1/masks/00001.png": os.urandom(50),
    "spans/1/probabilities/00001.npy.zst": os.urandom(500),
    "spans/1/probabilities/00002.png": os.urandom(500),  # as programs of before wrote them
}
USED = ["project.json", "video.mp4", "cuts.json", "background.png", "keyframes/0a1b.png", "spans/1"]


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A folder like a session's, with things beside that belong to no bundle."""
    folder = tmp_path / "session"
    extra = {"spans/2/span.json": b"{}", "spans/1/span.part": b"half", "keyframes/ff.png": b"unused", "lock": b""}
    for name, data in (FILES | extra).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def _write(session: Path, path: Path, exports=(), used=USED) -> list[ExportProgress]:
    return list(write_bundle(session, path, exports, used))


def _content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _zip(path: Path, entries: dict[str, bytes] | list[tuple[zipfile.ZipInfo, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items() if isinstance(entries, dict) else entries:
            archive.writestr(name, data)
    return path


def _refused(path: Path, match: str) -> None:
    """One sentence, and not a file left behind; folder included."""
    before = _content(path.parent)
    folder = path.parent / "unpacked"
    with pytest.raises(InputError, match=match) as caught:
        read_bundle(path, folder)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    assert _content(path.parent) == before and not folder.exists()


def test_what_a_session_uses_comes_back_byte_by_byte(session, tmp_path):
    overlay = tmp_path / "clip-overlay.mp4"
    overlay.write_bytes(b"overlay")
    path = tmp_path / "bundle.zip"
    steps = _write(session, path, [overlay])
    total = sum(map(len, FILES.values())) + len(b"overlay")
    assert steps[-1] == ExportProgress(total, total)
    done = [step.done for step in steps]
    assert done == sorted(done) and len(done) > 10
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == set(FILES) | {"exports/clip-overlay.mp4"}
    folder = tmp_path / "again"
    folder.mkdir()
    read_bundle(path, folder)
    assert _content(folder) == FILES


def test_a_folder_of_images_keeps_its_names(session, tmp_path):
    (session / "video.mp4").unlink()
    (session / "video").mkdir()
    images = {"video/Bild 2.JPG": b"2", "video/Bild ä10.png": b"10"}
    for name, data in (images | {"video/notes.txt": b"no image"}).items():
        (session / name).write_bytes(data)
    _write(session, tmp_path / "bundle.zip", used=["project.json", "video"])
    read_bundle(tmp_path / "bundle.zip", tmp_path / "again")
    assert _content(tmp_path / "again") == images | {"project.json": FILES["project.json"]}


def test_closed_early_it_leaves_nothing(session, tmp_path):
    folder = tmp_path / "out"
    steps = write_bundle(session, folder / "bundle.zip", [], USED)
    for _ in range(3):
        next(steps)
    steps.close()
    assert list(folder.iterdir()) == []


def test_only_a_sessions_files_go_in(session, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    for name in ("../secret.txt", "lock", str(tmp_path / "secret.txt")):
        with pytest.raises(ValueError):
            _write(session, tmp_path / "bundle.zip", used=[name])
    (session / "spans/1/masks/00009.png").symlink_to(tmp_path / "secret.txt")
    _write(session, tmp_path / "bundle.zip", used=["project.json", "video.mp4", "spans/1"])
    assert b"secret" not in (tmp_path / "bundle.zip").read_bytes()


class TestRefusals:
    """A ZIP from anywhere."""

    @pytest.mark.parametrize(
        "name",
        [
            "../escaped.png",
            "spans/../../escaped.json",
            "/tmp/escaped.png",
            "C:/escaped.png",
            "keyframes\\..\\..\\escaped.png",
            "keyframes/evil.py",
            "video/../../escaped.png",
            "video/.hidden/a.png",
            "spans/1/masks/٠٠٠٠٠.png",
            "project.json\n",
            "__init__.py",
        ],
    )
    def test_names_that_no_session_has(self, tmp_path, name):
        path = _zip(tmp_path / "bundle.zip", {"project.json": b"{}", "video.mp4": b"", name: b"evil"})
        _refused(path, "which no bundle has")
        assert not list(tmp_path.parent.glob("escaped*"))

    def test_links(self, tmp_path):
        link = zipfile.ZipInfo("keyframes/00.png")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        entries = [
            (zipfile.ZipInfo("project.json"), b"{}"),
            (zipfile.ZipInfo("video.mp4"), b""),
            (link, b"/etc/passwd"),
        ]
        _refused(_zip(tmp_path / "bundle.zip", entries), "which no bundle has")

    def test_a_file_that_is_a_folder_too(self, tmp_path):
        path = _zip(tmp_path / "bundle.zip", {"project.json": b"{}", "video": b"", "video/1.png": b""})
        _refused(path, "not a bundle")

    @pytest.mark.parametrize(
        "entries",
        [
            {},
            {"project.json": b"{}"},
            {"video.mp4": b""},
            dict.fromkeys(["project.json", "video.mp4", "video.mov"], b""),
        ],
    )
    def test_without_project_or_one_video(self, tmp_path, entries):
        _refused(_zip(tmp_path / "bundle.zip", entries), "not a bundle")

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_the_same_name_twice(self, tmp_path):
        entries = [(zipfile.ZipInfo(name), b"{}") for name in ("project.json", "video.mp4", "project.json")]
        _refused(_zip(tmp_path / "bundle.zip", entries), "not a bundle")

    def test_another_zip(self, tmp_path):
        _refused(_zip(tmp_path / "masks.zip", {"00000.png": b"", "00001.png": b""}), "which no bundle has")

    @pytest.mark.parametrize("data", [b"", b"PK", b"not a zip at all" * 100, b"\x89PNG\r\n\x1a\n" + bytes(1000)])
    def test_no_zip_at_all(self, tmp_path, data):
        (tmp_path / "bundle.zip").write_bytes(data)
        _refused(tmp_path / "bundle.zip", "not a bundle")

    def test_no_file_at_all(self, tmp_path):
        _refused(tmp_path / "missing.zip", "There is no bundle")

    def test_cut_anywhere(self, session, tmp_path):
        folder = tmp_path / "in"
        _write(session, folder / "whole.zip")
        data = (folder / "whole.zip").read_bytes()
        (folder / "whole.zip").unlink()
        for share in (0.1, 0.5, 0.999):
            (folder / "cut.zip").write_bytes(data[: int(share * len(data))])
            _refused(folder / "cut.zip", "not a bundle")

    def test_damaged_anywhere(self, session, tmp_path):
        """Flipped bytes are refused in one sentence, or were without weight and everything comes back as it was."""
        (session / "video.mp4").write_bytes(b"short")
        folder = tmp_path / "in"
        _write(session, folder / "whole.zip")
        data, dice = (folder / "whole.zip").read_bytes(), random.Random(4)
        (folder / "whole.zip").unlink()
        expected, refused = FILES | {"video.mp4": b"short"}, 0
        for number in range(150):
            changed = bytearray(data)
            for _ in range(3):
                changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
            path = folder / "damaged.zip"
            path.write_bytes(changed)
            try:
                read_bundle(path, folder / str(number))
            except InputError:
                refused += 1
                assert os.listdir(folder) == ["damaged.zip"]
            else:
                found = _content(folder / str(number))
                assert all(expected[name] == value for name, value in found.items())
                shutil.rmtree(folder / str(number))
        assert refused > 75

    def test_a_bomb_is_refused_before_it_is_unpacked(self, tmp_path, monkeypatch):
        """A hundred kilobytes that would become a hundred megabytes."""
        monkeypatch.setattr(bundle, "_unpack", lambda *_: pytest.fail("unpacked"))
        path = tmp_path / "bundle.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("project.json", b"{}")
            with archive.open("video.mp4", "w", force_zip64=True) as video:
                for _ in range(100):
                    video.write(bytes(1 << 20))
        _refused(path, "more than a bundle holds")

    def test_an_entry_that_holds_more_than_it_says(self, tmp_path):
        """The announced size is the most that is ever written."""
        path = _zip(tmp_path / "bundle.zip", {"project.json": b"{}", "video.mp4": bytes(100_000)})
        data = bytearray(path.read_bytes())
        size = (100_000).to_bytes(4, "little")
        for place in range(len(data) - 4):
            if data[place : place + 4] == size:
                data[place : place + 4] = (10).to_bytes(4, "little")
        path.write_bytes(data)
        _refused(path, "not a bundle")

    def test_too_many_files(self, tmp_path, monkeypatch):
        monkeypatch.setattr(bundle, "MAX_FILES", 5)
        entries = {"project.json": b"{}", "video.mp4": b""} | {f"keyframes/{i:02x}.png": b"" for i in range(4)}
        _refused(_zip(tmp_path / "bundle.zip", entries), "more than a bundle holds")

    def test_a_disk_that_is_too_full(self, session, tmp_path, monkeypatch):
        _write(session, tmp_path / "in" / "bundle.zip")
        monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 257 << 20}))
        _refused(tmp_path / "in" / "bundle.zip", "needs 3 MB of disk")

    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_compression_that_no_bundle_uses(self, tmp_path, method):
        path = tmp_path / "bundle.zip"
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("project.json", b"{}")
            archive.writestr("video.mp4", b"")
        _refused(path, "which no bundle has")

    def test_encrypted(self, tmp_path):
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr("project.json", b"{}")
            archive.writestr("video.mp4", b"")
        changed = bytearray(data.getvalue())
        for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            found = changed.find(mark)
            while found >= 0:
                changed[found + place] |= 1
                found = changed.find(mark, found + 1)
        (tmp_path / "bundle.zip").write_bytes(changed)
        _refused(tmp_path / "bundle.zip", "which no bundle has")

    def test_a_folder_that_is_in_use_stays_as_it_is(self, session, tmp_path):
        _write(session, tmp_path / "bundle.zip")
        with pytest.raises(OSError):
            read_bundle(tmp_path / "bundle.zip", session)
        assert _content(session)["video.mp4"] == FILES["video.mp4"]
        assert not list(tmp_path.glob(".*"))
