"""A correction is carried as far as was asked for, outwards, and what it leaves alone stays as it was."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from tests.session.scene import SETTINGS, images, square
from tests.tiny_model import tiny_state
from tests.video.clips import write_clip
from xmem import InputError
from xmem.networks.xmem import load_state
from xmem.session import Session, agreement

COUNT, MIDDLE = 12, 6


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", images(COUNT), options={"crf": "8", "g": "5"})


@pytest.fixture(scope="module")
def network():
    """Of random weights: what is computed from what is all that counts here."""
    return load_state(tiny_state())


@pytest.fixture
def tracked(session, network):
    """From one key frame on the first frame."""
    session.set_key_frame(0, square(4))
    run(session, network)
    return session


@pytest.fixture
def corrected(tracked):
    """... and corrected in the middle, before the run."""
    tracked.set_key_frame(MIDDLE, square(40, 30))
    return tracked


def agree_never(monkeypatch) -> None:
    monkeypatch.setattr(agreement, "FRAMES", COUNT)


def agree_after(monkeypatch, frames: int) -> None:
    """Masks of a random network never agree by themselves: any do, on so many frames in a row."""
    monkeypatch.setattr(agreement, "FRAMES", frames)
    monkeypatch.setattr(agreement, "LEAST", 0.0)


def run(session, network, settings=SETTINGS, stop_after: int | None = None, **options) -> list:
    steps, done = session.propagate(settings, network, **options), []
    for step in steps:
        done.append(step)
        if len(done) == stop_after:
            steps.close()
    return done


def stored(session: Session, frame: int) -> tuple[bytes, bytes]:
    """Mask and probabilities of a frame."""
    owner = session._owners[frame]
    names = f"masks/{frame:05d}.png", f"probabilities/{frame:05d}.npy.zst"
    return tuple((owner.folder / name).read_bytes() for name in names)


def all_stored(session: Session) -> list[tuple[bytes, bytes]]:
    return [stored(session, frame) for frame in range(COUNT)]


def anew(session: Session, network, folder, settings=SETTINGS) -> Session:
    """Another session with the same key frames, computed from nothing."""
    other = Session.create(session.video, folder)
    for key in session.key_frames:
        other.set_key_frame(key.frame, session.given_mask(key.frame))
    run(other, network, settings)
    return other


def test_to_the_neighbouring_key_frames_is_what_a_run_from_nothing_gives_to_the_bit(corrected, network, tmp_path):
    run(corrected, network)
    assert all_stored(corrected) == all_stored(anew(corrected, network, tmp_path / "anew"))
    assert corrected.pending() == corrected.pending(scope="neighbours") == []


def test_frames_beside_the_correction_come_first_on_either_side_in_turns(corrected, network):
    frames = [step.frame for step in run(corrected, network)]
    assert frames[:8] == [6, 7, 6, 5, 8, 4, 9, 3]
    assert sorted(frames[12:]) == list(range(MIDDLE)), "at last, the other pass between the key frames"


def test_a_frame_of_the_video_counts_once_however_often_the_network_runs_on_it(corrected, network):
    steps = run(corrected, network)
    assert len(steps) > COUNT and {step.total for step in steps} == {COUNT}
    done = [step.done for step in steps]
    assert done == sorted(done) and done[-1] == COUNT and done[-2] < COUNT


def test_around_a_correction_ends_where_masks_agree_and_leaves_the_rest_to_the_byte(corrected, network, monkeypatch):
    before, whole = all_stored(corrected), anew_forward(corrected, network)
    agree_after(monkeypatch, 3)
    steps = run(corrected, network, scope="around")
    assert sorted({step.frame for step in steps}) == list(range(3, 10))
    assert steps[-1].done == steps[-1].total < COUNT and steps[0].total == COUNT
    after = all_stored(corrected)
    assert [after[f] for f in (0, 1, 2, 10, 11)] == [before[f] for f in (0, 1, 2, 10, 11)]
    assert after[6:10] == whole[6:10], "computed as a run to the neighbouring key frames computes them"
    assert all(after[frame] != before[frame] for frame in range(3, 6))
    assert [row.frame for row in corrected.stats()] == list(range(COUNT))
    assert corrected.pending() == [] and len(corrected.pending(scope="neighbours")) == 2


def anew_forward(session, network) -> list:
    """What frames behind the last key frame are, from nothing."""
    other = anew(session, network, session.folder.parent / "whole")
    return all_stored(other)


def test_around_a_correction_that_never_agrees_goes_to_the_ends(corrected, network, monkeypatch):
    agree_never(monkeypatch)
    steps = run(corrected, network, scope="around")
    assert sorted({step.frame for step in steps}) == list(range(1, COUNT))
    assert not any(step.agrees for step in steps)


def test_between_key_frames_what_was_there_before_is_blended_in_by_distance(corrected, network, monkeypatch):
    agree_never(monkeypatch)
    before = corrected._owners[3].probabilities(3)
    run(corrected, network, scope="around")
    mixed = corrected._owners[3].probabilities(3)
    other = Session.create(corrected.video, corrected.folder.parent / "backward")
    for key in corrected.key_frames:
        other.set_key_frame(key.frame, corrected.given_mask(key.frame))
    run(other, network, replace(SETTINGS, direction="backward"))
    alone = other._owners[3].probabilities(3)
    assert np.abs((before + alone) / 2 - mixed).max() < 3 / 65535
    assert np.abs(before - alone).max() > 20 / 65535, "they must differ"


def test_the_frame_only_computes_nothing_and_changes_that_frame_alone(corrected, network):
    before = [corrected.mask(frame) for frame in range(COUNT)]
    assert run(corrected, None, scope="frame") == []
    assert corrected.pending() == []
    assert all(np.array_equal(corrected.mask(f), before[f]) for f in range(COUNT))
    assert np.array_equal(corrected.mask(MIDDLE), square(40, 30))
    assert {row.area for row in corrected.stats() if row.frame == MIDDLE} == {256}
    assert len(corrected.pending(scope="around")) == 2, "it can be carried on later"
    assert [step.frame for step in run(corrected, network, scope="around")][:4] == [6, 7, 6, 5]


def test_a_larger_scope_after_a_smaller_one_is_what_a_run_from_nothing_gives(corrected, network, monkeypatch, tmp_path):
    agree_after(monkeypatch, 2)
    run(corrected, network, scope="around")
    run(corrected, network, scope="neighbours")
    assert all_stored(corrected) == all_stored(anew(corrected, network, tmp_path / "anew"))


def test_two_corrections_at_once_are_each_carried_outwards(tracked, network, monkeypatch):
    for frame in (3, 8):
        tracked.set_key_frame(frame, square(40, 30))
    agree_after(monkeypatch, 2)
    frames = [step.frame for step in run(tracked, network, scope="around")]
    assert frames == [3, 4, 3, 2, 5, 1, 8, 9, 8, 7, 10, 6]
    assert tracked.pending() == []


def test_new_objects_and_other_settings_are_computed_everywhere(corrected, network, monkeypatch, tmp_path):
    agree_after(monkeypatch, 2)
    corrected.set_key_frame(MIDDLE, np.maximum(square(40, 30), square(70, 4, 2)))
    run(corrected, network, scope="around")
    assert all_stored(corrected) == all_stored(anew(corrected, network, tmp_path / "anew"))
    changed = replace(SETTINGS, memory=replace(SETTINGS.memory, mem_every=3))
    corrected.set_key_frame(MIDDLE, np.maximum(square(42, 30), square(70, 4, 2)))
    run(corrected, network, changed, scope="around")
    assert all_stored(corrected) == all_stored(anew(corrected, network, tmp_path / "changed", changed))


def test_what_was_there_before_a_change_is_not_what_was_undone(tracked, network, monkeypatch):
    first = all_stored(tracked)
    tracked.set_key_frame(MIDDLE, square(40, 30))
    run(tracked, network)
    assert all_stored(tracked) != first and tracked.undo()
    tracked.set_key_frame(10, square(10, 40))
    assert all_stored(tracked) == first, "shown meanwhile"
    agree_after(monkeypatch, 1)
    run(tracked, network, scope="around")
    assert all_stored(tracked)[:9] == first[:9]


def test_a_run_tells_once_masks_agree_and_the_rest_can_be_kept(corrected, network, monkeypatch):
    before = all_stored(corrected)
    agree_after(monkeypatch, 2)
    steps = corrected.propagate(SETTINGS, network)
    done = []
    for step in steps:
        done.append(step.frame)
        if step.agrees:
            steps.close()
    assert sorted(set(done)) == [4, 5, 6, 7, 8]
    corrected.keep_rest()
    assert corrected.pending() == [] and corrected.suspended() == 0
    after = all_stored(corrected)
    assert [f for f in range(COUNT) if after[f] != before[f]] == [4, 5, 6, 7, 8]
    assert [row.frame for row in corrected.stats()] == list(range(COUNT))


def test_keeping_the_rest_leaves_frames_that_were_never_computed_to_a_run(session, network):
    session.set_key_frame(0, square(4))
    run(session, network, stop_after=5)
    session.keep_rest()
    assert len(session.pending()) == 1 and session.suspended(SETTINGS) == 5


@pytest.mark.parametrize("scope", ["around", "neighbours"])
@pytest.mark.parametrize("stop_after", [2, 7, 15])
def test_a_correction_that_was_stopped_goes_on_with_the_same_results(corrected, network, tmp_path, stop_after, scope):
    other = copied(corrected, tmp_path / "other")
    whole = run(other, network, scope=scope)
    first = run(corrected, network, stop_after=stop_after, scope=scope)
    corrected = Session.open(corrected.folder)  # as another process would
    rest = run(corrected, network, scope=scope)
    frames = [step.frame for step in [*first, *rest]]
    assert sorted(frames) == sorted(step.frame for step in whole), "no frame twice"
    assert all_stored(corrected) == all_stored(other)
    if rest:
        assert rest[-1].done == rest[-1].total


def copied(session: Session, folder) -> Session:
    shutil.copytree(session.folder, folder)
    return Session.open(folder)


def test_a_correction_that_was_stopped_goes_on_with_another_scope(corrected, network, monkeypatch, tmp_path):
    """To the neighbours, though one side had ended where masks agreed; and around, though it was to go farther."""
    other = copied(corrected, tmp_path / "other")
    with pytest.MonkeyPatch.context() as patch:
        agree_after(patch, 3)
        run(corrected, network, stop_after=7, scope="around")
    run(corrected, network)
    assert all_stored(corrected) == all_stored(anew(corrected, network, tmp_path / "anew"))
    run(other, network, stop_after=9)
    agree_after(monkeypatch, 5)
    assert run(other, network, scope="around") and other.pending() == []


def test_an_unknown_scope_is_refused(corrected):
    with pytest.raises(InputError, match="carried"):
        list(corrected.propagate(SETTINGS, scope="everywhere"))


class TestAccept:
    """A computed mask that is right becomes a key frame, and nothing changes."""

    @pytest.mark.parametrize("frame", [1, 5, COUNT - 1])
    def test_nothing_is_pending_and_no_mask_changes(self, tracked, frame):
        before = [tracked.mask(f) for f in range(COUNT)]
        tracked.accept(frame)
        assert [key.frame for key in tracked.key_frames] == [0, frame]
        assert tracked.pending() == tracked.pending(scope="neighbours") == []
        assert all(np.array_equal(tracked.mask(f), before[f]) for f in range(COUNT))
        assert [row.frame for row in tracked.stats()] == list(range(COUNT))
        again = Session.open(tracked.folder)
        assert again.pending() == [] and again.undo() and again.pending() == []

    def test_between_key_frames_and_behind_a_correction_that_is_not_carried_on(self, corrected, network):
        run(corrected, network, scope="frame")
        corrected.accept(3)
        assert corrected.pending() == [] and len(corrected.pending(scope="around")) == 2
        assert [step.frame for step in run(corrected, network, scope="around")][:6] == [6, 7, 6, 5, 8, 4]

    def test_what_is_pending_stays_so(self, corrected):
        corrected.accept(9)
        assert [(span.first, span.last) for span in corrected.pending()] == [(0, 5), (6, 8), (9, 11)]

    def test_objects_that_come_later_leave_the_key_frames_between_as_they_are(self, tracked, network):
        tracked.set_key_frame(4, square(20))
        tracked.set_key_frame(8, np.maximum(square(40), square(70, 44, 2)))
        run(tracked, network)
        tracked.accept(2)
        assert tracked.pending() == []

    def test_with_an_object_that_was_deleted(self, session, network):
        session.set_key_frame(0, np.maximum(square(4), square(60, 44, 2)))
        run(session, network)
        session.remove_object(2)
        before = [session.mask(f) for f in range(COUNT)]
        session.accept(5)
        assert session.pending() == [] and all(np.array_equal(session.mask(f), before[f]) for f in range(COUNT))

    def test_only_a_computed_mask_can_be(self, session, network):
        session.set_key_frame(0, square(4))
        for frame, why in ((0, "already"), (5, "no mask yet")):
            with pytest.raises(InputError, match=why):
                session.accept(frame)


def test_a_suggestion_that_looks_fine_is_gone_for_good_also_from_a_bundle(tracked, tmp_path):
    first = tracked.suggestions()[0]
    tracked.dismiss(first.frame, first.object)
    assert first.frame not in [item.frame for item in tracked.suggestions()]
    again = Session.open_bundle(tracked.save_bundle(tmp_path / "all.zip"), tmp_path / "elsewhere")
    assert again.dismissed == ((first.frame, first.object),)
    assert first.frame not in [item.frame for item in again.suggestions()]
    with pytest.raises(InputError):
        tracked.dismiss(3, 7)


def test_results_of_earlier_versions_are_whole(tracked):
    """They knew no scope."""
    path = next(tracked.folder.glob("spans/*/span.json"))
    values = {key: value for key, value in json.loads(path.read_text()).items() if key not in ("scope", "fresh")}
    path.write_text(json.dumps(values))
    assert Session.open(tracked.folder).pending(scope="neighbours") == []
