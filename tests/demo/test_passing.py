"""Whose files are, on their way between server and visitors, and when they go."""

import os
import time
from pathlib import Path

import gradio as gr
import pytest
from demo_clips import index_of
from gradio.state_holder import StateHolder
from raw_visitor import RawVisitor, Refused, handed

from demo import api
from demo.page import VISITS_REMEMBERED, build_demo
from demo.visit import passing, studio
from demo.visit.passing import Passing
from xmem import InputError
from xmem.render.masks import write_index_mask


@pytest.fixture
def made(tmp_path) -> Passing:
    (tmp_path / "cache").mkdir()
    return Passing(tmp_path / "cache", tmp_path / "owners")


def upload(tmp_path: Path, name: str = "a") -> Path:
    folder = tmp_path / "cache" / name
    folder.mkdir()
    (folder / "file.mp4").write_bytes(b"x")
    return folder / "file.mp4"


def aged(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def test_an_upload_belongs_to_the_first_that_uses_it(made, tmp_path):
    path = upload(tmp_path)
    assert made.claim("one", path) and made.claim("one", path)
    assert not made.claim("other", path)
    assert not made.claim("other", path.parent / ".." / "a" / "file.mp4")


def test_what_is_handed_to_a_visit_is_its_own_at_a_place_that_nobody_guesses(made, tmp_path):
    (tmp_path / "result.mp4").write_bytes(b"result")
    places = {made.hand("one", tmp_path / "result.mp4") for _ in range(20)}
    assert len({place.parent.name for place in places}) == 20
    for place in places:
        assert len(place.parent.name) == 32 and place.read_bytes() == b"result"
        assert made.claim("one", place) and not made.claim("other", place)


def test_files_go_with_their_visit_and_what_nobody_used_with_time(made, tmp_path):
    used, old, fresh = upload(tmp_path, "used"), upload(tmp_path, "old"), upload(tmp_path, "fresh")
    kept = made.hand("here", used)
    made.claim("gone", used)
    empty, part, new = (tmp_path / "cache" / name for name in ("tmp1", "tmp2", "tmp3"))
    for path in (empty, new):
        path.touch()
    part.write_bytes(b"half an upload")
    for path in (empty, part, old.parent):
        aged(path, passing.UNFINISHED_SECONDS + 1)
    made.sweep(lambda visit: visit == "gone", 0)
    assert not used.exists() and not old.exists() and not empty.exists() and not part.exists()
    assert fresh.exists() and kept.exists() and new.exists()
    assert len(list((tmp_path / "owners").iterdir())) == 1
    made.sweep(lambda visit: False, time.time() + 1)
    assert not kept.exists() and not list((tmp_path / "owners").iterdir())


def test_an_upload_of_another_visitor_is_refused(visitor, workspaces, clip):
    path = workspaces.cache / "f" / "clip.mp4"
    path.parent.mkdir(parents=True)
    path.write_bytes(clip.read_bytes())
    api.open_video(str(path), visitor)
    stranger = gr.Request(session_hash="stranger")
    with pytest.raises(InputError, match="another visitor's"):
        api.open_video(str(path), stranger)
    assert not studio.has_session(stranger)


def test_the_same_file_twice_is_two_uploads(address, clip):
    visitor = RawVisitor(address)
    one, other = (Path(visitor.upload(clip)["path"]) for _ in range(2))
    assert one.parent != other.parent and one.name == other.name


def test_over_the_wire_an_address_that_leaked_opens_nothing(address, clip):
    owner, other = RawVisitor(address), RawVisitor(address)
    upload = owner.upload(clip)
    for _ in range(2):
        assert owner.ask("open_video", upload)[0]["frames"] == 12
    with pytest.raises(Refused, match="another visitor's"):
        other.ask("open_video", upload)
    folder = handed(str(Path(upload["path"]).parent))
    with pytest.raises(Refused, match="no file"):
        owner.ask("open_video", folder)


def test_a_result_may_be_given_back_by_its_visitor_alone(address, clip, tmp_path):
    owner, other = RawVisitor(address), RawVisitor(address)
    write_index_mask(tmp_path / "mask.png", index_of((1, 60, 90, 40, 120)))
    for each in (owner, other):
        each.ask("open_video", each.upload(clip))
    owner.ask("set_key_frame", 0, owner.upload(tmp_path / "mask.png"))
    _, _, mask = owner.ask("read_frame", 0)
    assert len(owner.ask("set_key_frame", 3, handed(mask["path"]))[0]["key_frames"]) == 2
    with pytest.raises(Refused, match="another visitor's"):
        other.ask("set_key_frame", 3, handed(mask["path"]))


def test_what_gradio_remembers_of_visits_does_not_grow_for_ever(address):
    demo, options = build_demo()
    assert options["state_session_capacity"] == VISITS_REMEMBERED
    holder = StateHolder()
    demo.state_session_capacity = 3
    holder.set_blocks(demo)
    for number in range(10):
        holder[f"visit {number}"]
    assert len(holder.session_data) == 3


def test_when_a_visit_is_over_its_files_go_and_nothing_is_left_in_the_cache(address, clip):
    spaces = studio.workspaces()
    visitor = RawVisitor(address)
    visitor.ask("open_video", visitor.upload(clip))
    before = {path for path in spaces.cache.iterdir() if path.is_dir()}
    visit = gr.Request(session_hash=visitor.visit)
    studio.depart(visit)
    spaces.sweep_passing()
    assert {path for path in spaces.cache.iterdir() if path.is_dir()} == before, "it may come back for a while"
    for mark in (spaces.root / "left").iterdir():
        aged(mark, 3600)
    for path in spaces.cache.iterdir():
        if path.is_file():
            aged(path, 3600)
    spaces.sweep_passing()
    assert len(before) > len({path for path in spaces.cache.iterdir() if path.is_dir()})
    assert not [path for path in spaces.cache.iterdir() if path.is_file()], "Gradio leaves an empty file per input"
