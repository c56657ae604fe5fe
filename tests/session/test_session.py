"""A session on a real clip: results that are right, kept, and found again."""

import io
import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from tests.plain_pipeline import make_plain
from tests.session.scene import COUNT, HEIGHT, SETTINGS, WIDTH, images, square
from tests.video.clips import write_clip
from xmem import InputError, MemoryConfig, Session, segment_video
from xmem.render.post import PostProcessing
from xmem.render.styles import Style
from xmem.session import results
from xmem.session.results import SpanResult
from xmem.session.spans import ids_spoken_for
from xmem.video import FrameReader
from xmem.video.access import FrameAccess


def run(session, network, settings=SETTINGS):
    return list(session.propagate(settings, network))


def bytes_of(session) -> dict[str, bytes]:
    files = [path for path in sorted((session.folder / "spans").rglob("[0-9]*.*"))]
    return {str(path.relative_to(session.folder)): path.read_bytes() for path in files}


def frame_files(session, frame: int) -> list[bytes]:
    owner = session._owners[frame]
    return [
        (owner.folder / name).read_bytes() for name in (f"masks/{frame:05d}.png", f"probabilities/{frame:05d}.npy.zst")
    ]


def test_one_key_frame_gives_what_segment_video_gives(session, network, clip, tmp_path):
    session.set_key_frame(0, square(4))
    run(session, network)
    plain = segment_video(
        clip, {0: square(4)}, tmp_path / "plain", model=network, config=SETTINGS.memory, size=SETTINGS.size
    )
    masks = [result.mask for result in plain]
    assert len({mask.tobytes() for mask in masks}) > 3, "the network must do something"
    for frame, mask in enumerate(masks):
        assert np.array_equal(session.mask(frame), mask), f"frame {frame}"


def test_results_from_before_networks_had_an_interval_of_their_own_go_on_as_they_are(session, network):
    """Their projects name no memory settings, and every fifth frame was remembered."""
    before = replace(SETTINGS, size=320, memory=MemoryConfig(mem_every=5))
    session.set_key_frame(0, square(4))
    run(session, network, before)
    project = session.folder / "project.json"
    written = json.loads(project.read_text())
    written["settings"]["memory"] = None
    project.write_text(json.dumps(written))
    again = Session.open(session.folder)
    assert again.settings == before and again.pending() == []
    run(again, network, replace(before, memory=None))
    assert Session.open(session.folder).settings.memory is None, "results of the network's own are gone on with as such"


def test_what_was_given_and_whether_anything_was_computed_can_be_asked_for(session, network, tmp_path):
    assert Session.is_in(session.folder) and not Session.is_in(tmp_path)
    assert not session.has_results
    session.set_key_frame(0, square(4))
    assert np.array_equal(session.given_mask(0), square(4)) and not session.has_results
    with pytest.raises(InputError, match="no key frame"):
        session.given_mask(4)
    next(steps := session.propagate(SETTINGS, network))
    steps.close()
    assert session.has_results, "also where a run was stopped"
    session.remove_object(1)
    assert not session.has_results, "nothing is there without its objects"


def test_a_time_is_a_frame_of_the_trimmed_range(session):
    rate = float(session.info.rate)
    assert session.frame_at(0) == 0 and session.frame_at(4.2 / rate) == 4
    session.set_trim(3, 9)
    assert session.frame_at(0) == 3 and session.frame_at(2.2 / rate) == 5 and session.frame_at(100) == 9


def test_a_correction_computes_only_the_spans_beside_it_and_leaves_the_bytes_of_all_others(session, network):
    for frame in (0, 8, 16):
        session.set_key_frame(frame, square(4 + 2 * frame))
    run(session, network)
    before = {frame: frame_files(session, frame) for frame in range(COUNT)}
    session.set_key_frame(16, square(30, 24))
    steps = run(session, network)
    changed = [frame for frame in range(COUNT) if frame_files(session, frame) != before[frame]]
    assert changed and min(changed) > 8, "frames before the neighbouring key frame keep their bytes"
    assert {step.frame for step in steps} == set(range(8, COUNT))
    assert all(frame_files(session, frame) == before[frame] for frame in range(9))


def test_between_key_frames_both_passes_are_blended_by_distance(session, network):
    """The stored probability is the weighted mean of what each pass alone stores."""
    masks = {0: square(4), 8: square(24, 30)}
    alone = {}
    for direction in ("forward", "backward", "both"):
        part = Session.create(session.video, session.folder.parent / direction)
        for frame, mask in masks.items():
            part.set_key_frame(frame, mask)
        run(part, network, replace(SETTINGS, direction=direction))
        alone[direction] = {f: part._owners[f].probabilities(f) for f in range(1, 8)}
    for frame in range(1, 8):
        weight = (8 - frame) / 8
        mixed = weight * alone["forward"][frame] + (1 - weight) * alone["backward"][frame]
        assert np.abs(mixed - alone["both"][frame]).max() < 3 / 65535
    assert np.abs(alone["forward"][4] - alone["backward"][4]).max() > 0.01, "the passes must differ"


def test_other_key_frames_are_in_permanent_memory(session, network):
    """A key frame far behind a span changes what the span computes."""
    session.set_key_frame(0, square(4))
    run(session, network)
    alone = session.mask(4)
    probabilities = session._owners[4].probabilities(4)
    other = Session.create(session.video, session.folder.parent / "other")
    for frame, mask in ((0, square(4)), (12, square(60, 40))):
        other.set_key_frame(frame, mask)
    steps = run(other, network, replace(SETTINGS, direction="forward"))
    assert np.abs(other._owners[4].probabilities(4) - probabilities).max() > 1e-3
    assert steps[0].memory.permanent == (HEIGHT // 16) * (WIDTH // 16)
    assert alone.shape == (HEIGHT, WIDTH)


def test_an_object_that_starts_later_leaves_earlier_frames_alone_forwards(session, network):
    session.set_key_frame(0, square(4))
    session.set_key_frame(10, np.maximum(square(24), square(60, 44, 2)))
    run(session, network, replace(SETTINGS, direction="forward"))
    assert all(2 not in session.mask(frame) for frame in range(10))
    assert session._owners[12].span.objects == (1, 2)


def test_what_a_key_frame_leaves_out_is_absent_there(session, network):
    session.set_key_frame(0, np.maximum(square(4), square(60, 44, 2)))
    session.set_key_frame(10, square(24))
    run(session, network)
    assert 2 not in session.mask(10)
    assert ids_spoken_for(session.key_frames, (1, 2), 10) == (1, 2)


def test_undo_brings_back_the_result_and_redo_the_correction_without_a_run(session, network):
    session.set_key_frame(0, square(4))
    run(session, network)
    first = [session.mask(frame) for frame in range(COUNT)]
    session.set_key_frame(12, square(40, 30))
    run(session, network)
    corrected = [session.mask(frame) for frame in range(COUNT)]
    assert session.undo() and session.pending(SETTINGS) == []
    assert all(np.array_equal(session.mask(f), first[f]) for f in range(COUNT))
    assert session.redo() and session.pending(SETTINGS) == []
    assert all(np.array_equal(session.mask(f), corrected[f]) for f in range(COUNT))
    assert not session.redo() and any(not np.array_equal(a, b) for a, b in zip(first, corrected, strict=True))


def test_a_stopped_run_keeps_what_is_done_and_goes_on_later(session, network):
    session.set_key_frame(0, square(4))
    steps = session.propagate(SETTINGS, network)
    done = [next(steps).frame for _ in range(5)]
    steps.close()
    assert done == [0, 1, 2, 3, 4]
    again = Session.open(session.folder)
    assert [again.has_result(frame) for frame in (4, 5)] == [True, False]
    assert len(again.pending(SETTINGS)) == 1
    assert [step.frame for step in run(again, network)] == list(range(5, COUNT)) and again.pending(SETTINGS) == []


@pytest.mark.parametrize("threads", [1, 4])
def test_stages_beside_one_another_give_what_one_after_the_other_gives(session, network, monkeypatch, threads):
    """Masks, probabilities and figures to the byte, of a forward pass and a blended one."""
    monkeypatch.setattr(results, "allowed_cores", lambda: threads)
    for frame in (0, 12):
        session.set_key_frame(frame, square(4 + 2 * frame))
    steps = run(session, network)
    beside = {path.name: path.read_bytes() for path in (session.folder / "spans").rglob("*.csv")}
    found = bytes_of(session) | beside
    for folder in (session.folder / "spans").iterdir():
        shutil.rmtree(folder)
    make_plain(monkeypatch)
    again = Session.open(session.folder)
    plain = run(again, network)
    assert bytes_of(again) | {p.name: p.read_bytes() for p in (again.folder / "spans").rglob("*.csv")} == found
    assert len(found) > 2 * COUNT
    for one, other in zip(steps, plain, strict=True):
        assert (one.frame, one.done, one.total, one.memory) == (other.frame, other.done, other.total, other.memory)
        assert np.array_equal(one.mask, other.mask) and np.array_equal(one.image, other.image)


@pytest.mark.parametrize("done", [3, COUNT + 2])
def test_stopped_in_either_pass_its_threads_end_before_the_video_is_closed(session, network, monkeypatch, done):
    for frame in (0, COUNT - 1):
        session.set_key_frame(frame, square(4 + 2 * frame))
    steps = session.propagate(SETTINGS, network)
    for _ in range(done):
        next(steps)
    at_close, close = [], FrameAccess.close

    def closing(access):
        at_close.append([thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")])
        close(access)

    monkeypatch.setattr(FrameAccess, "close", closing)
    steps.close()
    assert at_close == [[]]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("behind")]


def test_a_disk_that_is_full_stops_the_run_and_what_is_written_stays(session, network, monkeypatch):
    session.set_key_frame(0, square(4))
    real = results.write_compact_mask

    def full(path, mask):
        if int(path.stem) >= 5:
            raise OSError(28, "No space left on device")
        real(path, mask)

    monkeypatch.setattr(results, "write_compact_mask", full)
    with pytest.raises(InputError, match="disk is full: free some space"):
        run(session, network)
    monkeypatch.undo()
    again = Session.open(session.folder)
    assert [again.has_result(frame) for frame in (4, 5)] == [True, False]
    assert len(run(again, network)) == COUNT and again.pending(SETTINGS) == []


def test_another_process_finds_all_of_it(session, network):
    session.set_key_frame(3, square(10))
    session.update_object(1, name="  Ball\n", color=4, visible=False)
    session.set_trim(2, 9)
    session.set_style(Style("spotlight_dim", strength=0.7))
    session.set_post(PostProcessing(grow=2))
    run(session, network)
    again = Session.open(session.folder)
    assert (again.objects, again.key_frames, again.first, again.last) == (
        session.objects, session.key_frames, 2, 9)  # fmt: skip
    assert again.objects[0].name == "Ball" and again.style.kind == "spotlight_dim" and again.post.grow == 2
    assert np.array_equal(again.mask(6), session.mask(6)) and again.pending(SETTINGS) == []
    assert [row.frame for row in again.stats()] == list(range(2, 10))


def test_post_processing_changes_masks_without_a_run_and_never_a_given_one(session, network):
    session.set_key_frame(0, square(4))
    run(session, network)
    stored, plain = bytes_of(session), {frame: session.mask(frame) for frame in (0, 1)}
    session.set_post(PostProcessing(grow=3))
    assert np.count_nonzero(session.mask(1)) > np.count_nonzero(plain[1]) > 0
    assert np.array_equal(session.mask(0), plain[0]) and session.pending(SETTINGS) == []
    session.set_post(PostProcessing())
    assert np.array_equal(session.mask(1), plain[1]) and bytes_of(session) == stored


def test_a_deleted_object_goes_from_all_frames_without_a_run_and_its_id_is_not_used_again(session, network):
    session.set_key_frame(0, np.maximum(square(4), square(60, 44, 2)))
    run(session, network)
    others = session.mask(6) == 1
    session.remove_object(2)
    assert 2 not in session.mask(6) and 2 not in session.mask(0)
    assert np.array_equal(session.mask(6) == 1, others) and session.pending(SETTINGS) == []
    assert session.next_object == 3
    assert session.undo() and 2 in session.mask(0)


def test_a_taken_colour_is_swapped(session):
    session.set_key_frame(0, np.maximum(square(4), square(60, 44, 2)), colors={2: 6})
    assert [item.color for item in session.objects] == [0, 6]
    session.update_object(1, color=6)
    assert [item.color for item in session.objects] == [6, 0]


def test_frames_carry_masks_mattes_and_certainty_of_visible_objects_in_the_trimmed_range(session, network):
    session.set_key_frame(0, np.maximum(square(4), square(60, 44, 2)))
    run(session, network)
    session.set_trim(4, 7)
    session.update_object(2, visible=False)
    frames = list(session.frames())
    assert [item.frame.index for item in frames] == [4, 5, 6, 7]
    with FrameReader(session.video) as reader:
        images = [frame.image for frame in reader]
    for item in frames:
        assert np.array_equal(item.frame.image, images[item.frame.index]) and 2 not in item.mask
        matte = item.matte(1)
        assert matte.dtype == np.uint8 and matte.shape == item.mask.shape
        assert (matte[item.mask == 1] >= 128).all() and set(item.certainty) == {1, 2}


def test_the_matte_of_a_key_frame_follows_the_given_mask(session, network):
    session.set_key_frame(0, square(4))
    run(session, network)
    matte = session.matte(0, 1)
    assert matte[28, 12] == 255 and matte[28, 40] == 0 and (matte[20:36, 4:20] >= 128).mean() > 0.95


def test_shot_cuts_are_noted_where_a_run_goes_forwards_and_backwards(tmp_path, network):
    blocks = np.random.default_rng(1).integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    other = [np.kron(blocks, np.ones((8, 8, 1), np.uint8))] * 8
    clip = write_clip(tmp_path / "cut.mp4", [*images(8), *other])
    for key, name in ((0, "forwards"), (15, "backwards")):
        session = Session.create(clip, tmp_path / name)
        session.set_key_frame(key, square(30))
        run(session, network)
        assert session.cuts() == [8], name


def test_a_bundle_resumes_the_session_elsewhere(session, network, tmp_path):
    session.set_key_frame(0, square(4))
    session.set_key_frame(12, square(30, 30))
    run(session, network)
    extra = tmp_path / "table.csv"
    extra.write_text("a,b\n")
    bundle = session.save_bundle(tmp_path / "all.zip", [extra])
    again = Session.open_bundle(bundle, tmp_path / "elsewhere")
    assert again.key_frames == session.key_frames and again.pending(again.settings) == []
    assert all(np.array_equal(again.mask(f), session.mask(f)) for f in range(COUNT))
    assert again.video.read_bytes() == session.video.read_bytes()


def repacked(bundle: Path, target: Path, change) -> Path:
    """The bundle with `change(name, data)` in place of each file."""
    with ZipFile(bundle) as source, ZipFile(target, "w") as written:
        for name in source.namelist():
            written.writestr(name, change(name, source.read(name)))
    return target


def with_secret(name: str, data: bytes) -> bytes:
    return data.replace(b'"image": null', b'"image": "../secret.png"') if name == "project.json" else data


def with_small_masks(name: str, data: bytes) -> bytes:
    if not name.startswith("keyframes/"):
        return data
    image = io.BytesIO()
    Image.new("P", (8, 8), 1).save(image, "PNG")
    return image.getvalue()


@pytest.mark.parametrize("change", [with_secret, with_small_masks])
def test_a_bundle_that_points_outside_itself_or_does_not_fit_its_video_is_refused(session, tmp_path, change):
    session.set_key_frame(0, square(4))
    good = session.save_bundle(tmp_path / "good.zip")
    (tmp_path / "secret.png").write_bytes(b"x")
    bad = repacked(good, tmp_path / "bad.zip", change)
    assert bad.stat().st_size and Session.open_bundle(good, tmp_path / "good")
    with pytest.raises(InputError):
        Session.open_bundle(bad, tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "action",
    [
        lambda s: s.set_key_frame(COUNT, square(4)),
        lambda s: s.set_key_frame(0, np.zeros((4, 4), np.uint8)),
        lambda s: s.remove_key_frame(3),
        lambda s: s.set_trim(9, 3),
        lambda s: s.update_object(5, name="x"),
        lambda s: s.set_style(Style("cutout_image", image=str(s.folder / "project.json"))),
        lambda s: list(s.propagate(SETTINGS)),
        lambda s: Session.create(s.video, s.folder),
        lambda s: Session.open(s.folder / "nothing"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence_and_changes_nothing(session, action):
    before = (session.folder / "project.json").read_text()
    with pytest.raises(InputError):
        action(session)
    assert (session.folder / "project.json").read_text() == before


def test_an_upload_s_name_names_no_file(clip, tmp_path):
    session = Session.create(clip, tmp_path / "work")
    assert session.video.name == "video.mp4" and session.name == "clip one"
    assert not [path for path in Path(session.folder).rglob("*") if "clip one" in path.name]


def test_figures_are_read_once_for_all_frames_of_a_span(session, network, monkeypatch):
    """Read for each frame, the table of a clip of 1,000 frames took a minute."""
    session.set_key_frame(0, square(4))
    run(session, network)
    reads = []
    read = SpanResult.stats
    monkeypatch.setattr(SpanResult, "stats", lambda self: reads.append(self.number) or read(self))
    assert len(session.stats()) == COUNT and len(reads) == 1
    assert all(item.certainty for item in session.frames()) and len(reads) == 2


def test_work_is_changed_while_a_run_goes_on_and_nothing_of_either_is_lost(session, network):
    """By another tab, in another Session: the run goes by what it began with, and tidies up by what there is then."""
    session.set_key_frame(0, square(4))
    steps = session.propagate(SETTINGS, network)
    next(steps)
    other = Session.open(session.folder)
    other.set_key_frame(12, square(28))
    other.update_object(1, name="Square")
    list(steps)
    after = Session.open(session.folder)
    assert [key.frame for key in after.key_frames] == [0, 12] and after.objects[0].name == "Square"
    assert np.array_equal(after.mask(12), square(28)) and all(after.has_result(frame) for frame in range(COUNT))
    assert [(span.first, span.last) for span in after.pending()] == [(0, 11), (12, COUNT - 1)]
    after.undo()
    after.undo()
    assert not after.pending(), "without the correction the run's result is what is asked for"


def test_stamps_tell_which_masks_have_changed(session, network):
    session.set_key_frame(0, square(4))
    before = session.edit_stamp
    assert [stamp is not None for stamp in session.mask_stamps()] == [True] + [False] * (COUNT - 1)
    run(session, network)
    assert session.edit_stamp != before
    first = session.mask_stamps()
    assert None not in first and first == Session.open(session.folder).mask_stamps()
    session.set_key_frame(6, square(16))
    second = session.mask_stamps()
    assert [frame for frame in range(COUNT) if first[frame] != second[frame]] == [6]
    session.set_post(PostProcessing(grow=2))
    assert not set(second) & set(session.mask_stamps())
