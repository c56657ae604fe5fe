"""Workspaces: private, one folder per run, gone with the run, the visit, or age."""

import os
import stat
import time
from pathlib import Path

import numpy as np
import pytest

from demo.runs import rendering
from demo.visit import studio
from demo.visit.workspace import Workspaces, download_stem
from xmem import InputError


@pytest.fixture
def made(tmp_path) -> Workspaces:
    return Workspaces(tmp_path)


def test_only_its_user_can_enter_the_root(made):
    assert stat.S_IMODE(made.root.stat().st_mode) == 0o700


def test_every_run_has_a_folder_of_its_own_that_goes_however_the_run_ends(made):
    visitor = made.of("a")
    with visitor.new_run() as first, visitor.new_run() as second:
        assert first != second and first.is_dir() and second.is_dir()
        (first / "overlay.mp4").touch()
    with pytest.raises(RuntimeError), visitor.new_run() as third:
        (third / "masks").mkdir()
        raise RuntimeError
    assert not list(visitor.path.glob("run-*"))


def test_visitors_have_different_folders_that_a_session_name_cannot_lead_out_of(made):
    names = ["a", "b", "../../etc", "/etc", None, None]
    paths = [made.of(name).path for name in names]
    assert len(set(paths)) == len(names)
    assert all(path.parent == made.root / "visitors" for path in paths)


def test_stopping_concerns_one_visitor_only(made):
    one, other = made.of("a"), made.of("b")
    one.request_stop()
    assert one.stop_file.exists() and not other.stop_file.exists()
    one.clear_stop()
    assert not one.stop_file.exists()


def test_leaving_removes_an_idle_workspace_and_stops_a_running_one(made):
    idle, busy = made.of("a"), made.of("b")
    with idle.new_run():
        pass
    idle.leave()
    assert not idle.path.exists()
    with busy.new_run() as run:
        busy.leave()
        assert run.is_dir() and busy.stop_file.exists()
    assert not busy.path.exists(), "what was left during a run goes with the run"


def test_age_removes_forgotten_workspaces_and_roots_of_dead_servers_but_nothing_in_use(made, tmp_path):
    forgotten, used = made.of("a"), made.of("b")
    dead = Workspaces(tmp_path)
    alive = Workspaces(tmp_path)
    for workspace in (forgotten, used):
        workspace.request_stop()
    long_ago = time.time() - 10_000
    os.utime(forgotten.path, (long_ago, long_ago))
    os.utime(dead.root, (long_ago, long_ago))
    os.utime(made.root, (long_ago, long_ago))
    made.sweep(max_age_seconds=3600)
    assert not forgotten.path.exists() and not dead.root.exists()
    assert used.path.exists() and alive.root.exists() and made.root.exists()


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
    workspace, create = workspaces.of(visitor.session_hash), studio.Session.create

    def slow(*args):
        made = create(*args)
        workspace.leave()
        return made

    monkeypatch.setattr(studio.Session, "create", slow)
    with pytest.raises(InputError, match="The visit is over"):
        studio.begin_session(visitor, clip)
    assert not workspace.path.exists()


def test_files_are_not_made_for_a_visitor_who_has_left(workspaces, visitor, session):
    """Rendered or exported by a program, which cannot press Stop."""
    session.set_key_frame(0, np.ones((180, 320), np.uint8))
    workspace = workspaces.of(visitor.session_hash)
    with pytest.raises(InputError, match="The visit is over"), workspace.new_folder("other-"):
        workspace.leave()
        with rendering.rendered(session, workspace):
            pass
    assert not workspace.path.exists()
