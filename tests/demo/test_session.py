"""Sessions on disk: found by their key alone, kept until age or disk limit, whatever becomes of the server."""

import logging
import os
import stat
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from demo.runs import rendering
from demo.visit import studio
from demo.visit.keeping import Workspaces
from demo.visit.workspace import Workspace, download_stem
from xmem import InputError
from xmem.limits import Limits

DAY = 86400


@pytest.fixture
def made(tmp_path) -> Workspaces:
    return Workspaces(tmp_path / "kept", tmp_path)


def begun(spaces: Workspaces, used: float = 0, size: int = 0) -> tuple[str, Workspace]:
    """A session, or what looks like one from outside; used: seconds ago."""
    key, workspace = spaces.new()
    workspace.session_folder.mkdir(parents=True)
    (workspace.session_folder / "project.json").touch()
    (workspace.session_folder / "video.mp4").write_bytes(bytes(size))
    aged(workspace.path, used)
    return key, workspace


def aged(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def test_only_its_user_can_enter_what_is_kept_and_what_is_passing(made):
    for folder in (made.root, made.folder / "sessions", made.folder / "visits"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_keys_cannot_be_guessed_and_no_name_on_disk_tells_them(made):
    keys = {begun(made)[0] for _ in range(50)}
    assert len(keys) == 50 and min(map(len, keys)) >= 32
    names = " ".join(str(path) for path in made.folder.rglob("*"))
    assert not any(key in names for key in keys)


def test_a_visit_sees_the_session_that_it_has_the_key_of_and_no_other(made):
    key, workspace = begun(made)
    made.visit("a", key)
    assert made.of("a") == workspace and made.of("b") != workspace
    assert made.find("") is None and made.find("../" + workspace.path.name) is None
    made.leave("a")
    assert made.of("a") != workspace and made.find(key) == workspace


def test_names_of_visits_and_keys_cannot_lead_out_of_the_folder(made):
    names = ["a", "b", "../../etc", "/etc", None, None]
    paths = [made.of(name).path for name in names]
    assert len(set(paths)) == len(names)
    assert all(path.parent == made.root / "visitors" for path in paths)


def test_a_server_that_starts_again_finds_sessions_and_visits(made, tmp_path):
    key, workspace = begun(made)
    made.visit("a", key)
    made.close()
    again = Workspaces(tmp_path / "kept", tmp_path)
    assert again.of("a").path == again.find(key).path == workspace.path
    assert not made.root.exists()


def test_every_run_has_a_folder_of_its_own_that_goes_however_the_run_ends(made):
    visitor = made.of("a")
    with visitor.new_run() as first, visitor.new_run() as second:
        assert first != second and first.is_dir() and second.is_dir()
        (first / "overlay.mp4").touch()
    with pytest.raises(RuntimeError), visitor.new_run() as third:
        (third / "masks").mkdir()
        raise RuntimeError
    assert not list(visitor.work.glob("run-*"))


def test_stopping_concerns_one_visitor_only(made):
    one, other = made.of("a"), made.of("b")
    one.request_stop()
    assert one.stop_file.exists() and not other.stop_file.exists()
    one.clear_stop()
    assert not one.stop_file.exists()


def test_age_ends_sessions_and_their_use_keeps_them(made, caplog):
    (old_key, old), (_, used) = begun(made, 8 * DAY), begun(made, 8 * DAY)
    used.keep_alive()
    _, half_made = made.new()
    half_made.path.mkdir()
    aged(half_made.path, DAY)
    with caplog.at_level(logging.INFO):
        made.sweep()
    assert not old.path.exists() and used.path.exists() and not half_made.path.exists()
    assert made.find(old_key) is None
    assert old.path.name in caplog.text and old_key not in caplog.text, "logs do not tell keys"


def limited(monkeypatch, **changed: int) -> None:
    monkeypatch.setattr("demo.visit.keeping.limits", lambda: Limits(**changed))


def test_the_age_is_a_limit(made, monkeypatch):
    _, workspace = begun(made, 2 * DAY)
    limited(monkeypatch, session_days=1)
    made.sweep()
    assert not workspace.path.exists()


def test_at_the_disk_limit_the_oldest_go_first_and_what_is_in_use_stays(made, monkeypatch):
    limited(monkeypatch, disk_bytes=25_000)
    sessions = [begun(made, used, 10_000)[1].path for used in (3 * DAY, 2 * DAY, DAY)]
    made.sweep()
    assert [path.exists() for path in sessions] == [False, True, True]
    limited(monkeypatch, disk_bytes=1)
    aged(sessions[2], 60)
    made.sweep()
    assert [path.exists() for path in sessions] == [False, False, True]


def test_above_the_number_of_sessions_the_oldest_go_first(made, monkeypatch):
    limited(monkeypatch, sessions=2)
    sessions = [begun(made, used)[1].path for used in (3 * DAY, 2 * DAY, DAY)]
    made.sweep()
    assert [path.exists() for path in sessions] == [False, True, True]


def test_what_dead_servers_left_in_the_temporary_folder_goes_and_living_ones_keep_theirs(made, tmp_path):
    dead, alive = (Workspaces(tmp_path / "kept", tmp_path) for _ in range(2))
    for root in (dead.root, made.root):
        aged(root, DAY)
    made.sweep()
    assert not dead.root.exists() and alive.root.exists() and made.root.exists()


def test_a_folder_that_cannot_keep_sessions_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="XMEM_SESSIONS"):
        Workspaces(tmp_path / "file" / "kept", tmp_path)


def test_another_video_begins_another_session_and_a_failed_one_leaves_the_page_where_it_was(visitor, session, clip):
    first = studio.key_of(visitor)
    studio.begin_session(visitor, clip)
    second = studio.key_of(visitor)
    assert first != second
    with pytest.raises(InputError):
        studio.begin_session(visitor, __file__)
    assert studio.key_of(visitor) == second
    assert len(list((studio.workspaces().folder / "sessions").iterdir())) == 2, "what failed left nothing behind"


def test_two_tabs_with_one_key_are_at_the_same_work(visitor, session):
    other = SimpleNamespace(session_hash="another tab")
    studio.join_session(other, studio.key_of(visitor))
    with studio.editing(other) as shared:
        shared.set_trim(2, 5)
    assert studio.session_of(visitor).first == 2


@pytest.mark.parametrize(
    ("upload", "stem"),
    [
        ("My clip (1).mp4", "My-clip-1"),
        ("/tmp/x/été au lac.mov", "été-au-lac"),
        ("../../etc/passwd", "passwd"),
        ("$(rm -rf ~);.mp4", "rm-rf"),
        (".mp4", "mp4"),
        ("???.mp4", "video"),
        ("a" * 300 + ".mp4", "a" * 80),
    ],
)
def test_download_names_follow_the_upload_without_anything_dangerous(upload, stem):
    assert download_stem(Path(upload)) == stem


def test_what_is_opened_for_a_visitor_who_has_left_leaves_nothing(workspaces, visitor, clip, monkeypatch):
    """A long video may take a minute to open; nobody waits for it any more, and its folder had gone."""
    create = studio.Session.create

    def slow(*args):
        made = create(*args)
        studio.depart(visitor)
        return made

    monkeypatch.setattr(studio.Session, "create", slow)
    with pytest.raises(InputError, match="The visit is over"):
        studio.begin_session(visitor, clip)
    assert not list((workspaces.folder / "sessions").iterdir()) and not studio.has_session(visitor)


def test_files_are_not_made_for_a_visitor_who_has_left(workspaces, visitor, session):
    """Rendered or exported by a program, which cannot press Stop."""
    session.set_key_frame(0, np.ones((180, 320), np.uint8))
    workspace = studio.workspace_of(visitor)
    studio.depart(visitor)
    with pytest.raises(InputError, match="The visit is over"), rendering.rendered(session, workspace):
        pass
    assert not list(workspace.work.iterdir()) and studio.has_session(visitor), "the work itself stays"


def test_a_visit_begins_so_many_sessions_and_no_more(visitor, session, clip, monkeypatch):
    monkeypatch.setattr(studio, "limits", lambda: Limits(visitor_sessions=2))
    studio.begin_session(visitor, clip)
    with pytest.raises(InputError, match="A visit may begin 2 sessions"):
        studio.begin_session(visitor, clip)
    studio.begin_session(SimpleNamespace(session_hash="another"), clip)
