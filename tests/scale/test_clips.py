"""A folder of clips: by one process, and by workers of Ray, of which one is killed."""

import os
import signal
import sys
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import torch

from tests.scale.gated import GATE, SEEN_AT, gated, real
from tests.session.scene import images, square
from tests.tiny_model import write_tiny_model
from tests.video.clips import write_clip
from xmem import InputError, TrackSettings
from xmem.cli import main
from xmem.render.masks import write_index_mask
from xmem.scale import clips as scale
from xmem.scale.clips import ClipProgress, by_workers, clips_in, follow, one_by_one
from xmem.scale.pool import ATTEMPTS, Pool, WorkerDied, name_of

COUNT = 8
NAMES = ["one", "three", "two"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("clips")
    for left, name in enumerate(NAMES):
        write_clip(made / f"{name}.mp4", images(COUNT))
        write_index_mask(made / f"{name}.png", square(4 + left))
    return made


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> TrackSettings:
    model = write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")
    return TrackSettings(str(model), "cpu", None, direction="forward", precision="float32")


@contextmanager
def one_thread() -> Iterator[None]:
    """As workers of one core have it."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def alone(folder, settings, tmp_path_factory) -> dict[str, dict[str, bytes]]:
    """Of each clip the masks that one process writes."""
    with one_thread():
        steps = list(one_by_one(clips_in(folder, tmp_path_factory.mktemp("alone")), settings))
    assert [step.name for step in steps if step.file] == NAMES
    assert len(steps) == len(NAMES) * (COUNT + 1)
    return written(steps)


def written(steps: list[ClipProgress]) -> dict[str, dict[str, bytes]]:
    """Of each clip that is done its masks, by the names of their files."""
    found = {}
    for step in steps:
        if step.file:
            with zipfile.ZipFile(step.file) as archive:
                found[step.name] = {name: archive.read(name) for name in archive.namelist()}
    return found


def test_a_clip_that_was_left_goes_on_where_it_was(folder, settings, alone, tmp_path):
    first, *_ = clips_in(folder, tmp_path)
    with one_thread():
        with closing(follow(first, settings)) as steps:
            begun = [next(steps) for _ in range(3)]
        assert begun[-1].done == 3 and not first.masks.exists()
        rest = list(follow(first, settings))
    assert rest[0].total == COUNT - 3
    assert written(rest) == {first.name: alone[first.name]}
    assert [step.file for step in follow(first, settings)] == [first.masks], "nothing is left to compute"


def test_another_mask_is_followed_anew_and_another_video_is_refused(folder, settings, alone, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("one.mp4", "one.png"):
        (mine / name).write_bytes((folder / name).read_bytes())
    (clip,) = clips_in(mine, tmp_path)
    list(follow(clip, settings))
    write_index_mask(clip.mask, square(20))
    changed = list(follow(clip, settings))
    assert len(changed) == COUNT + 1 and written(changed)["one"] != alone["one"]
    clip.video.unlink()
    write_clip(clip.video, images(COUNT - 2))
    with pytest.raises(InputError, match="results are of another video"):
        list(follow(clip, settings))


def test_what_is_missing_in_a_folder_is_said(folder, tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        clips_in(tmp_path / "none", tmp_path)
    with pytest.raises(InputError, match="There is no video in"):
        clips_in(tmp_path, tmp_path)
    (tmp_path / "walk.mp4").write_bytes((folder / "one.mp4").read_bytes())
    with pytest.raises(InputError, match=r"walk\.mp4 has no mask: put walk\.png beside it"):
        clips_in(tmp_path, tmp_path)


def test_a_clip_that_cannot_be_followed_holds_up_no_other(folder, settings, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("one", "two"):
        (mine / f"{name}.mp4").write_bytes((folder / f"{name}.mp4").read_bytes())
        (mine / f"{name}.png").write_bytes((folder / f"{name}.png").read_bytes())
    (mine / "one.mp4").write_bytes(b"no video")
    clips, done = clips_in(mine, tmp_path), []
    with pytest.raises(InputError, match="one: "):
        done.extend(step.name for step in one_by_one(clips, settings) if step.file or done.append(step.name))
    assert clips[1].masks.exists()
    with pytest.raises(InputError, match="one: "):
        list(by_workers(clips, settings, Here()))


class Here:
    """Workers that are threads of this process. dying: how often each clip's worker dies at a frame."""

    def __init__(self, count: int = 2, dying: int = 0, at: int = SEEN_AT) -> None:
        self.count, self._at = count, at
        self._dying: dict[str, int] = dict.fromkeys(NAMES, dying)

    def stream(self, work: str, clip: scale.Clip, settings: TrackSettings) -> Iterator[ClipProgress]:
        assert work == name_of(follow)
        with closing(follow(clip, settings)) as steps:
            for step in steps:
                yield step
                if self._dying[clip.name] and step.done >= min(self._at, step.total):
                    self._dying[clip.name] -= 1
                    raise WorkerDied("gone")


def test_workers_that_die_are_replaced_and_too_many_deaths_are_said(folder, settings, alone, tmp_path):
    with one_thread():
        steps = list(by_workers(clips_in(folder, tmp_path / "a"), settings, Here(dying=ATTEMPTS - 1)))
        assert written(steps) == alone
        assert len(steps) == len(NAMES) * (COUNT + 1), "each goes on where it was"
        clips = clips_in(folder, tmp_path / "b")
        with pytest.raises(InputError, match="one: gone"):
            list(by_workers(clips, settings, Here(dying=ATTEMPTS, at=1)))


def test_workers_that_are_left_leave_clips_to_be_gone_on_with(folder, settings, alone, tmp_path):
    clips = clips_in(folder, tmp_path)
    with one_thread():
        with closing(by_workers(clips, settings, Here())) as steps:
            next(steps)
        rest = list(by_workers(clips, settings, Here()))
    assert len(rest) < len(NAMES) * (COUNT + 1) and written(rest) == alone


def test_the_command_says_what_is_done(folder, settings, tmp_path, capsys):
    arguments = [str(folder), "--output", str(tmp_path), "--model", settings.model, "--device", "cpu", "--size", "own"]
    assert main(["clips", *arguments]) == 0
    files = [str(clip.masks) for clip in clips_in(folder, tmp_path)]
    assert capsys.readouterr().out.split() == files and all(Path(file).exists() for file in files)
    with pytest.raises(SystemExit):
        main(["clips", *arguments, "--workers", "none"])
    assert "is not a number of at least 1, nor 'ray'" in capsys.readouterr().err


def test_without_ray_a_sentence_says_what_to_install(folder, settings, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["clips", str(folder), "--output", str(tmp_path), "--model", settings.model, "--workers", "ray"]) == 1
    assert "pip install '.[ray]'" in capsys.readouterr().err


@real
def test_workers_of_ray_finish_all_clips_though_one_is_killed_and_masks_are_the_same_bytes(
    folder, settings, alone, tmp_path
):
    clips = {clip.name: clip for clip in clips_in(folder, tmp_path)}
    killed, after, steps = None, None, []
    with Pool(2) as pool, closing(by_workers(list(clips.values()), settings, pool, gated)) as coming:
        for step in coming:
            steps.append(step)
            if killed is not None and after is None and step.name == killed.name:
                after = step
            if step.done == SEEN_AT:
                (clips[step.name].own / GATE).touch()
                if killed is None:
                    killed = step
                    os.kill(step.worker, signal.SIGKILL)
    assert written(steps) == alone
    assert after.worker != killed.worker and after.total == COUNT - SEEN_AT, "it went on from its last state"
    workers = {step.worker for step in steps}
    assert len(workers) == 3 and os.getpid() not in workers
