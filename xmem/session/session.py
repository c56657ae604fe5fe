"""`xmem.Session`: one video, its key frames, and all that is made of them, in a folder on disk.

A session holds nothing in memory that grows with the video: any process may open its folder again and go on.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import cached_property, partial
from os import PathLike
from pathlib import Path

import cv2
import numpy as np
from pydantic import TypeAdapter

from xmem.checkpoints import REGISTRY, load_model
from xmem.errors import InputError
from xmem.limits import TooLarge, check_frames, check_key_frames, check_objects, limits
from xmem.networks import Network
from xmem.render.matte import soft_mask
from xmem.render.post import PostProcessing, post_process
from xmem.render.styles import Style, StyleRenderer
from xmem.render.tracked import TrackedFrame
from xmem.session import corrections, files
from xmem.session.bundle import read_bundle, write_bundle
from xmem.session.foreign import check_files, check_session
from xmem.session.keymasks import KeyMasks, file_of
from xmem.session.passes import SpanJob
from xmem.session.project import (
    MAX_DISMISSED,
    MAX_TITLE,
    Edit,
    KeyFrame,
    Project,
    SessionObject,
    read_project,
    write_project,
)
from xmem.session.results import Results, SpanResult
from xmem.session.run import Run, Step, Task, settle, take_over, task_of, why_no_span
from xmem.session.schema import FrameNumber, read_json
from xmem.session.settings import SCOPES, WHOLE, TrackSettings
from xmem.session.spans import Anchor, Span, anchors_of, ids_spoken_for, plan
from xmem.session.stats import ObjectStats
from xmem.session.suggestions import Suggestion, suggest
from xmem.video import VideoInfo
from xmem.video.access import FrameAccess
from xmem.video.fitting import Fitting, write_fitting

Table = dict[tuple[int, int], ObjectStats]

PROJECT, INDEX, CUTS = "project.json", "index.json", "cuts.json"
_CUTS = TypeAdapter(tuple[FrameNumber, ...])
_MAX_CUTS = 16 << 20  # bytes


class Session:
    """A piece of work on one video. Make one with `create`, `open` or `open_bundle`.

    Frames count from 0 and keep their numbers when the video is trimmed. Every change is on disk when its method
    returns. Methods raise InputError for what cannot be done.
    """

    def __init__(self, folder: Path, project: Project):
        self.folder = folder
        self._project = project
        self._masks = KeyMasks(folder)
        self._forget()

    @classmethod
    def create(
        cls, source: str | PathLike, folder: str | PathLike, name: str | None = None, fit: bool = False
    ) -> Session:
        """Begin with a video file or a folder of images, which is linked or copied into `folder` (new or empty).

        name: what people and downloads call the video; its file's name if left out. fit: of a video that is longer than
        allowed take as much from its beginning as is, and make one smaller whose frames are too large: a copy then
        takes its place. Raises TooMuch for one otherwise.
        """
        steps = cls.creating(source, folder, name, fit)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value

    @classmethod
    def creating(
        cls, source: str | PathLike, folder: str | PathLike, name: str | None = None, fit: bool = False
    ) -> Generator[Fitting, None, Session]:
        """`create`, which tells meanwhile how far a copy is, if one is made; closed early it leaves no session."""
        source, folder = Path(source), Path(folder)
        files.check_new(folder)
        most = limits().frames if fit else None
        try:
            with FrameAccess(source, most=most) as access:  # before anything is written: it may be no video
                count = access.frame_count
                folder.mkdir(parents=True, exist_ok=True)
                video = "video" if source.is_dir() else "video" + files.plain_suffix(source)
                files.link_or_copy(source, folder / video)
                files.write_table(folder / INDEX, access.index)
        except TooLarge:
            if not fit or source.is_dir():
                raise
            video = "video.mp4"
            yield from write_fitting(source, folder / video, limits().frames)
            with FrameAccess(folder / video) as access:
                count = access.frame_count
                files.write_table(folder / INDEX, access.index)
        KeyMasks(folder).create()
        (folder / "spans").mkdir()
        title = (name or source.stem).encode(errors="replace").decode()[:MAX_TITLE]
        session = cls(folder, Project(video, title, count, 0, count - 1))
        session._save()
        return session

    @classmethod
    def open(cls, folder: str | PathLike) -> Session:
        """Go on with the session in `folder`."""
        folder = Path(folder)
        session = cls(folder, read_project(folder / PROJECT))
        settings = session.settings.as_in([result.signature for result in session._results.all])
        session._project = replace(session._project, settings=settings)
        return session

    @staticmethod
    def is_in(folder: str | PathLike) -> bool:
        """Whether there is a session in `folder`."""
        return (Path(folder) / PROJECT).exists()

    @classmethod
    def open_bundle(cls, bundle: str | PathLike, folder: str | PathLike) -> Session:
        """Unpack a bundle (see `save_bundle`) into `folder` (new or empty) and go on with it.

        Raises InputError, and leaves nothing behind, where anything in it is not what a session has.
        """
        folder = Path(folder)
        files.check_new(folder)
        read_bundle(Path(bundle), folder)
        try:
            session = cls.open(folder)
            project = session._project
            image = [project.style.image] if project.style.image else []
            check_files(folder, [project.video, *image, *map(file_of, project.masks)])
            check_session(folder, project, session.cuts(), session.info)
            session.set_style(session.style)  # its image can be read, or an error
            if project.settings.model not in REGISTRY:
                settings = project.settings.with_model(TrackSettings().model)
                session._change(replace(project, settings=settings))
            return session
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    # What it is

    @property
    def video(self) -> Path:
        """The video file, or the folder of images."""
        return self.folder / self._project.video

    @property
    def name(self) -> str:
        return self._project.name

    @cached_property
    def info(self) -> VideoInfo:
        """Size, rate, rotation, sound of the video."""
        with self.access() as access:
            return access.info

    @property
    def frame_count(self) -> int:
        return self._project.frame_count

    @property
    def first(self) -> int:
        """First frame of the trimmed range."""
        return self._project.first

    @property
    def last(self) -> int:
        """Last frame of the trimmed range, inclusive."""
        return self._project.last

    @property
    def length(self) -> int:
        """Frames that are worked on: those that the trim leaves."""
        return self.last - self.first + 1

    @property
    def objects(self) -> tuple[SessionObject, ...]:
        return self._project.edit.objects

    @property
    def key_frames(self) -> tuple[KeyFrame, ...]:
        """Frames with a given mask, ascending."""
        return self._project.edit.key_frames

    @property
    def settings(self) -> TrackSettings:
        """Those of the latest run."""
        return self._project.settings

    @property
    def style(self) -> Style:
        style = self._project.style
        return replace(style, image=str(self.folder / style.image)) if style.image else style

    @property
    def post(self) -> PostProcessing:
        return self._project.post

    @property
    def next_object(self) -> int:
        """The id that a new object gets."""
        return self._project.next_object

    def access(self, beside: bool = False) -> FrameAccess:
        """The frames of the video, in any order; a context manager. beside: whether a network runs meanwhile."""
        index = files.read_table(self.folder / INDEX)
        if index is None:  # a bundle brings none, and perhaps a video of which a part was taken
            check_frames(self.frame_count, self.name)
        access = FrameAccess(self.video, index=index, most=self.frame_count, beside=beside)
        if index is None and access.index.get("part") and access.frame_count < self.frame_count:
            access.close()
            access = FrameAccess(self.video)  # which says that it is too long
        if index is None:
            files.write_table(self.folder / INDEX, access.index)
        return access

    def image(self, frame: int) -> np.ndarray:
        """A frame, uint8 [H, W, 3] RGB."""
        self._check_frame(frame)
        with self.access() as access:
            return access.frame(frame).image

    def frame_at(self, seconds: float) -> int:
        """The frame that a video of the trimmed range shows at a time, which is 0 at its first frame.

        Frames are not equally long in videos of variable rate, so their own times decide.
        """
        with self.access() as access:
            # a player stands a little before or after a frame's start: half a millisecond before counts as the frame
            wanted = float(access.frame(self.first).time) + seconds + 5e-4
            low, high = self.first, self.last  # the frame is among these
            guess = self.first + int(seconds * float(self.info.rate))
            while low < high:
                place = min(max(guess, low + 1), high)
                if float(access.frame(place).time) <= wanted:
                    low = place
                    guess = place + 1  # the very next one, if the guess was right
                    if guess <= high and float(access.frame(guess).time) > wanted:
                        return place
                else:
                    high = place - 1
                guess = (low + high + 1) // 2
        return low

    # Corrections

    def set_key_frame(self, frame: int, mask: np.ndarray, colors: Mapping[int, int] | None = None) -> None:
        """Give the mask of a frame: index mask uint8 [H, W] at the video's size. It replaces one given before.

        Objects of earlier key frames that are not in it are absent on this frame. Ids that are new become objects;
        colors: their places in the palette.
        """
        self._check_frame(frame)
        shape = (self.info.height, self.info.width)
        if mask.shape != shape:
            raise InputError(
                f"The mask is {mask.shape[1]}x{mask.shape[0]} but the video {shape[1]}x{shape[0]}: "
                "give a mask of the video's size."
            )
        check_key_frames(len(self.key_frames) + (self._key(frame) is None))
        ids = tuple(int(i) for i in np.unique(mask) if i)
        check_objects(len({*ids, *self._ids}))
        key = KeyFrame(frame, self._masks.store(mask.astype(np.uint8)), ids)
        self._edit(corrections.with_key_frame(self._project.edit, key, colors or {}))

    def remove_key_frame(self, frame: int) -> None:
        """Take a given mask back. Objects that were on it alone go as well."""
        self._edit(corrections.without_key_frame(self._project.edit, frame))

    def update_object(
        self, object_id: int, name: str | None = None, color: int | None = None, visible: bool | None = None
    ) -> None:
        """Change how an object is called or shown. An object that has the colour already takes this one's."""
        self._edit(corrections.with_object(self._project.edit, object_id, name, color, visible))

    def remove_object(self, object_id: int) -> None:
        """Take an object out of all key frames and results; others stay as they were computed."""
        self._edit(corrections.without_object(self._project.edit, object_id))

    @property
    def can_undo(self) -> bool:
        return bool(self._project.past)

    @property
    def can_redo(self) -> bool:
        return bool(self._project.future)

    def undo(self) -> bool:
        """Go back before the latest change of key frames or objects; results on disk come back. False: none."""
        if self.can_undo:
            self._change(self._project.undone())
            return True
        return False

    def redo(self) -> bool:
        """The reverse of `undo`."""
        if self.can_redo:
            self._change(self._project.redone())
            return True
        return False

    def set_trim(self, first: int, last: int) -> None:
        """Work on frames first..last (inclusive) only. Nothing outside is lost."""
        self._check_frame(first)
        self._check_frame(last)
        if last < first:
            raise InputError(f"The range ends at frame {last}, before it begins at {first}: swap them.")
        self._change(replace(self._project, first=first, last=last))

    def set_style(self, style: Style) -> None:
        """How results look; an image for the background is copied into the session."""
        StyleRenderer(style, self.info.width, self.info.height, {})  # says what is wrong before anything changes
        if style.image:
            source = Path(style.image)
            name = "background" + files.plain_suffix(source)
            if source.resolve() != (self.folder / name).resolve():
                shutil.copyfile(source, self.folder / name)
            style = replace(style, image=name)
        self._change(replace(self._project, style=style))

    def set_post(self, post: PostProcessing) -> None:
        """How masks are cleaned up when they are read; results on disk stay as they were computed."""
        self._change(replace(self._project, post=post))

    # Results

    def mask(self, frame: int) -> np.ndarray:
        """The index mask uint8 [H, W] that counts: given on a key frame, else computed and post-processed, else 0."""
        self._check_frame(frame)
        key = self._key(frame)
        found = self._computed(frame)
        if key is None:
            return post_process(found, self.post)
        given = self.given_mask(frame)
        spoken_for = ids_spoken_for(self.key_frames, self._ids, frame)
        return np.where(given > 0, given, np.where(np.isin(found, spoken_for), 0, found)).astype(np.uint8)

    def given_mask(self, frame: int) -> np.ndarray:
        """The index mask uint8 [H, W] that was given on a key frame. Raises InputError where `frame` is none."""
        key = self._key(frame)
        if key is None:
            raise InputError(f"Frame {frame} is no key frame: choose one of those listed.")
        return self._existing(self._masks.read(key.mask))

    @property
    def has_results(self) -> bool:
        """Whether anything was computed for the objects that there are."""
        return bool(self.objects) and any(result.frames() for result in self._results.all)

    def has_result(self, frame: int) -> bool:
        """Whether the frame has a mask, computed or given."""
        self._check_frame(frame)
        return self._owners[frame] is not None or self._key(frame) is not None

    @property
    def edit_stamp(self) -> str:
        """A short text that changes with every change of the work: key frames, objects, trim, style, settings."""
        return f"{(self.folder / PROJECT).stat().st_mtime_ns:x}"

    def mask_stamps(self) -> list[str | None]:
        """For each frame of the video a short text that changes when `mask` gives another one; None where the frame has
        no mask, computed or given."""
        written = {owner.number: owner.written() for owner in self._owners if owner is not None}
        shared = f"{self.post}{self._ids}"
        stamps: list[str | None] = [
            None if owner is None else f"{owner.number}.{written[owner.number].get(frame, 0):x}"
            for frame, owner in enumerate(self._owners)
        ]
        for key in self.key_frames:
            spoken_for = ids_spoken_for(self.key_frames, self._ids, key.frame)
            stamps[key.frame] = f"{stamps[key.frame] or ''}{key.mask}{spoken_for}"
        digests = (None if stamp is None else hashlib.sha256(f"{stamp}{shared}".encode()) for stamp in stamps)
        return [None if digest is None else digest.hexdigest()[:12] for digest in digests]

    def matte(self, frame: int, object_id: int) -> np.ndarray:
        """A soft mask of an object, uint8 [H, W], 0 to 255, from the stored probabilities.

        Its edge lies where the mask's does; probabilities of 1/3 and less are outside, those of 2/3 and more inside.
        """
        mask = self.mask(frame)
        return self._matte(frame, mask, object_id)

    def pending(self, settings: TrackSettings | None = None, scope: str = SCOPES[0]) -> list[Span]:
        """The spans that a run with these settings would compute. scope: how far corrections are to be carried; spans
        in which they were carried as far, or farther, are up to date."""
        settings = settings or self.settings
        _check_scope(scope)
        spans = self._plan(settings)
        return [span for span in spans if self._results.serving(span, settings.signature, scope) is None]

    def suspended(self, settings: TrackSettings | None = None, scope: str = WHOLE) -> int:
        """Frames, of all that are pending, that a run with these settings need not compute again, since an earlier one
        was stopped after them."""
        return int(sum(task.skipped for task in self._tasks(settings or self.settings, scope)) + 1e-6)

    def steps_left(self, settings: TrackSettings | None = None, scope: str = WHOLE) -> int:
        """Frames that the network has yet to run on with these settings, at most; those of two passes twice."""
        passes = [one for task in self._tasks(settings or self.settings, scope) for one in task.passes]
        return sum(one.steps - one.done for one in passes if not one.is_over)

    def goes_on_at(self, settings: TrackSettings | None = None, scope: str = WHOLE) -> int | None:
        """The frame at which a run with these settings goes on with an earlier one; None where it does not, or on more
        than one side, or with frames that it has passed once."""
        tasks = self._tasks(settings or self.settings, scope)
        if len(tasks) != 1 or tasks[0].place is None or tasks[0].place.backward or len(tasks[0].passes) > 1:
            return None
        return tasks[0].place.frame + 1

    def propagate(
        self,
        settings: TrackSettings | None = None,
        model: Network | None = None,
        start_over: bool = False,
        scope: str = WHOLE,
    ) -> Generator[Step, None, None]:
        """Compute what is pending; yield each frame that is done. Closed early, what is done is kept, and the next run
        with the same settings and key frames goes on behind it; so it does after a crash, a few seconds further back.

        The run goes by the work as it was when it began; another Session of this folder may change it meanwhile, and
        what that leaves to compute is for the next run.

        settings: those of the latest run if left out. model: a loaded network in place of the settings' checkpoint.
        start_over: begin the pending spans anew.
        scope: how far corrections of frames that have results are carried: "around" them, until the new masks agree
        with those from before; to the "neighbours", the key frames beside them; or no further than the "frame" itself.
        """
        self._look_again()
        settings = settings or self.settings
        _check_scope(scope)
        spans = self._plan(settings)
        if not spans:
            raise InputError(why_no_span(self._project, settings))
        self._change(replace(self._project, settings=settings))
        if start_over:
            for span in self.pending(settings, scope):
                self._results.forget(span, settings.signature)
        since = time.time()
        tasks = self._settle(self._tasks(settings, scope), settings)
        if tasks:
            network = model or load_model(settings.model, settings.device, settings.precision)
            yield from self._compute(tasks, settings, network)
        self._prune(since)

    def keep_rest(self, settings: TrackSettings | None = None) -> None:
        """Leave pending spans as they are, where all of their frames have masks: what a run has done of them stays,
        other frames keep what was there before the correction. Nothing of them is pending then."""
        settings = settings or self.settings
        self._settle([task for task in self._tasks(settings, "frame") if task.before is not None], settings)
        self._prune(time.time())

    def accept(self, frame: int) -> None:
        """Make a frame's computed mask a key frame: a person found it to be right. No result changes, and nothing more
        is pending than before. Raises InputError for a frame without a computed mask, and for a key frame."""
        self._check_frame(frame)
        if self._key(frame) is not None:
            raise InputError(f"Frame {frame} is a key frame already: its mask was given.")
        if not self.has_result(frame):
            raise InputError(f"Frame {frame} has no mask yet: run first, then say whether it is right.")
        pending = [n for span in self.pending() for n in range(span.first, span.last + 1)]
        following = next((anchor for anchor in self._anchors() if anchor.frame > frame), None)
        known = following.speaks if following else self._ids  # of other ids, key frames behind it would speak anew
        self.set_key_frame(frame, _only(self.mask(frame), known))
        for task in self._tasks(self.settings, "frame"):
            if task.before is not None and task.span.first not in pending:
                take_over(self._results, task.before, self.settings.signature, self._masks.read)
        self._forget()

    def dismiss(self, frame: int, object_id: int) -> None:
        """A suggested frame looks fine: the object is not suggested there any more, nor on the frames beside it."""
        self._check_frame(frame)
        corrections.object_of(self._project.edit, object_id)
        dismissed = (*(item for item in self._project.dismissed if item != (frame, object_id)), (frame, object_id))
        self._change(replace(self._project, dismissed=dismissed[-MAX_DISMISSED:]))

    @property
    def dismissed(self) -> tuple[tuple[int, int], ...]:
        """Frame and object of the suggestions that were found to be right."""
        return self._project.dismissed

    def stats(self) -> list[ObjectStats]:
        """Figures of the objects on each computed frame of the trimmed range, by frame and object."""
        rows = []
        tables: dict[int, Table] = {}
        for frame in range(self.first, self.last + 1):
            owner = self._owners[frame]
            if owner is not None:
                table = self._table(owner, tables)
                rows += [table[frame, i] for i in owner.span.objects if i in self._ids and (frame, i) in table]
        return rows

    def cuts(self) -> list[int]:
        """First frames of new shots, as far as runs have seen them."""
        path = self.folder / CUTS
        if not path.exists():
            return []
        cuts = read_json(path, _CUTS, "The table of cuts", _MAX_CUTS)
        return list(cuts)

    def suggestions(self, count: int = 8) -> list[Suggestion]:
        """The frames most worth checking, the worst first."""
        names = {item.id: item.name for item in self.objects}
        keys = [key.frame for key in self.key_frames]
        return suggest(self.stats(), self.cuts(), keys, count, names, self.dismissed)

    def frames(self, first: int | None = None, last: int | None = None) -> Iterator[TrackedFrame]:
        """The frames of the trimmed range, or of first..last, with the masks of the visible objects."""
        first = self.first if first is None else first
        last = self.last if last is None else last
        hidden = [item.id for item in self.objects if not item.visible]
        keys = {key.frame for key in self.key_frames}
        tables: dict[int, Table] = {}
        with self.access() as access:
            for frame in access.forward(first, last):
                mask = self.mask(frame.index)
                shown = _only(mask, [i for i in self._ids if i not in hidden]) if hidden else mask
                owner = self._owners[frame.index]
                table = self._table(owner, tables)
                certainty = {i: table[frame.index, i].certainty for i in self._ids if (frame.index, i) in table}

                def matte(i: int, index: int = frame.index, mask: np.ndarray = mask) -> np.ndarray:
                    return self._matte(index, mask, i)

                yield TrackedFrame(frame, shown, matte, certainty, frame.index in keys)

    def save_bundle(self, path: str | PathLike, exports: Iterable[str | PathLike] = ()) -> Path:
        """Write a ZIP that holds the video, project.json, key frames and results, and the files `exports`."""
        used = [PROJECT, self._project.video]
        used += [file_of(mask) for mask in self._project.masks]
        used += [f"spans/{result.number}" for result in self._in_use()]
        used += [name for name in (CUTS, self._project.style.image) if name and (self.folder / name).exists()]
        steps = write_bundle(self.folder, Path(path), [Path(item) for item in exports], used)
        with closing(steps):
            for _ in steps:
                pass
        return Path(path)

    # Inside

    def _forget(self) -> None:
        """Drop what was derived from the state before."""
        for name in ("_results", "_owners"):
            self.__dict__.pop(name, None)

    @cached_property
    def _results(self) -> Results:
        return Results(self.folder / "spans", self.frame_count)

    @cached_property
    def _owners(self) -> list[SpanResult | None]:
        return self._results.owners(self._layers(self.settings), self.settings.signature)

    @property
    def _ids(self) -> tuple[int, ...]:
        return tuple(sorted(item.id for item in self.objects))

    def _plan(self, settings: TrackSettings) -> list[Span]:
        return plan(self.key_frames, self._ids, self.first, self.last, settings.direction)

    def _anchors(self) -> list[Anchor]:
        return anchors_of(self.key_frames, self._ids)

    def _layers(self, settings: TrackSettings) -> list[list[Span]]:
        """The spans of what is given now, and of what was given before each of the latest changes."""
        layers: list[list[Span]] = []
        for edit in (self._project.edit, *reversed(self._project.past)):
            ids = tuple(sorted(item.id for item in edit.objects))
            spans = plan(edit.key_frames, ids, self.first, self.last, settings.direction)
            if spans not in layers:
                layers.append(spans)
        return layers

    def _tasks(self, settings: TrackSettings, scope: str) -> list[Task]:
        """What a run with these settings has to do."""
        layers, signature = self._layers(settings), settings.signature
        spans = self.pending(settings, scope)
        return [task_of(self._results, span, layers, signature, scope) for span in spans]

    def _settle(self, tasks: Iterable[Task], settings: TrackSettings) -> list[Task]:
        """Complete what needs no network any more; the tasks that do."""
        over = {id(each) for each in tasks if each.is_over}
        for each in tasks:
            if id(each) in over:
                settle(self._results, each, settings.signature, self._masks.read)
        self._forget()
        return [each for each in tasks if id(each) not in over]

    def _compute(self, tasks: list[Task], settings: TrackSettings, network: Network) -> Generator[Step, None, None]:
        began, cuts = time.monotonic(), set[int]()
        opened = partial(self.access, beside=True)
        with opened() as access:

            def job(span: Span) -> SpanJob:
                return SpanJob(span, settings, self._anchors(), self._masks.read, access, network)

            run = Run(self._results, tasks, job, opened, cuts)
            try:
                with closing(run.frames()) as computed:  # its threads end before the video is closed
                    for found in computed:
                        seconds = time.monotonic() - began
                        about = (found.image, found.memory, found.mask, run.agrees)
                        yield Step(found.frame, run.done, run.total, seconds, *about)
            finally:
                self._add_cuts(cuts)
                self._forget()

    def _add_cuts(self, cuts: set[int]) -> None:
        if cuts:
            files.write_table(self.folder / CUTS, sorted({*self.cuts(), *cuts}))

    def _computed(self, frame: int) -> np.ndarray:
        """Index mask uint8 [H, W] of the existing objects as computed, 0 where nothing was."""
        owner = self._owners[frame]
        if owner is None:
            return np.zeros((self.info.height, self.info.width), np.uint8)
        return self._existing(owner.mask(frame))

    def _existing(self, mask: np.ndarray) -> np.ndarray:
        """Without objects that were deleted."""
        return _only(mask, self._ids)

    def _table(self, owner: SpanResult | None, known: dict[int, Table]) -> Table:
        """Figures of a result by (frame, object), read once; empty for none."""
        if owner is None:
            return {}
        if owner.number not in known:
            known[owner.number] = owner.stats()
        return known[owner.number]

    def _matte(self, frame: int, mask: np.ndarray, object_id: int) -> np.ndarray:
        owner, own = self._owners[frame], None
        if owner is not None and self._key(frame) is None and object_id in owner.span.objects:
            own = owner.probability(frame, object_id)
        return soft_mask(mask, object_id, own, processed=self.post != PostProcessing())

    def _key(self, frame: int) -> KeyFrame | None:
        return next((key for key in self.key_frames if key.frame == frame), None)

    def _in_use(self) -> list[SpanResult]:
        """Results that speak for a frame, now or after undo and redo."""
        kept = {owner.number: owner for owner in self._owners if owner is not None}
        for edit in (*self._project.past, self._project.edit, *self._project.future):
            ids = tuple(sorted(item.id for item in edit.objects))
            for span in plan(edit.key_frames, ids, self.first, self.last, self.settings.direction):
                result = self._results.serving(span, None)
                if result is not None:
                    kept[result.number] = result
        return [kept[number] for number in sorted(kept)]

    def _prune(self, since: float) -> None:
        """Remove results and masks that nothing leads to any more, by the work as it is on disk now.

        since: seconds since 1970; masks that were stored later stay, for somebody may be about to note them.
        """
        self._look_again()
        self._results.prune(self._in_use())
        self._masks.prune(self._project.masks, since)

    def _look_again(self) -> None:
        """Take the work as it is on disk: another Session of this folder may have changed it."""
        self._project = read_project(self.folder / PROJECT)
        self._forget()

    def _check_frame(self, frame: int) -> None:
        if not 0 <= frame < self.frame_count:
            raise InputError(f"There is no frame {frame}: the video's frames are 0 to {self.frame_count - 1}.")

    def _edit(self, edit: Edit) -> None:
        self._change(self._project.edited(edit))

    def _change(self, project: Project) -> None:
        if project != self._project:
            self._project = project
            self._save()
            self._forget()

    def _save(self) -> None:
        write_project(self._project, self.folder / PROJECT)


def _check_scope(scope: str) -> None:
    if scope not in SCOPES:
        raise InputError(f"A correction is carried on to one of {', '.join(SCOPES)}, not to {scope!r}.")


def _only(mask: np.ndarray, ids: Iterable[int]) -> np.ndarray:
    """An index mask uint8 [H, W] with other ids than these taken out."""
    table = np.zeros(256, np.uint8)
    table[list(ids)] = list(ids)
    return cv2.LUT(mask, table)
