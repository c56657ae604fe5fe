"""Decoded pictures of a file in any order: seek, decode on, and know by the index where one is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import av
from av import VideoFrame
from av.video.frame import PictureType

from xmem.private import Private
from xmem.video.decode import VideoDecoder
from xmem.video.index import FrameIndex, index_by_decoding, index_file

_log = logging.getLogger("xmem")
_ATTEMPTS = 3  # keys tried before decoding from the start
_ASTRAY = 64  # pictures more than expected, after which a seek has failed


class PictureSeeker:
    """Gives the pictures of a file by frame number, decoding only from a key picture on.

    Each is checked against `index`. Where seeks lead astray, pictures are found by decoding from the start. Where that
    contradicts an index that packets told, the file is damaged: it is decoded once for a new one, which may be shorter.
    most: without an index, how many frames from the beginning are wanted (see `index_file`). beside: as a
    `VideoDecoder` has it.
    """

    def __init__(
        self, path: Path, index: FrameIndex | None = None, most: int | None = None, beside: bool = False
    ) -> None:
        self._path, self._beside = path, beside
        self._decoder: VideoDecoder | None = None
        self._pictures: Iterator[VideoFrame] = iter(())
        self._next: int | None = None  # frame that _pictures gives next; None = not known
        self._sought = False  # whether a seek led there
        self._can_seek = True
        self._warns = True  # of damage, once
        self._current: tuple[int, VideoFrame | None] | None = None
        self.index = index or index_file(self.decoder, most)

    @property
    def decoder(self) -> VideoDecoder:
        """The decoder in use: what is the same of all pictures, and their conversion."""
        return self._begin() if self._decoder is None else self._decoder

    def picture(self, frame: int) -> VideoFrame | None:
        """The picture of a frame; None where a damaged file turns out not to have it."""
        if self._current is not None and self._current[0] == frame:
            return self._current[1]
        self._current = None  # one held is enough
        picture = self._reach(frame)
        self._current = (frame, picture)
        return picture

    def close(self) -> None:
        """Free the file; repeated calls do nothing."""
        self._current, self._next, self._pictures = None, None, iter(())
        if self._decoder is not None:
            self._warns = self._warns and not self._decoder.is_damaged
            self._decoder.close()
            self._decoder = None

    def _reach(self, frame: int) -> VideoFrame | None:
        found = self._decode_to(frame) if self._is_on_the_way(frame) else None
        if found is None:
            found = self._by_seeking(frame)
        if found is None:
            found = self._from_start(frame)
        if found is None and self.index.checks is None:
            _log.warning("%s is damaged; it is decoded once to see which frames it has.", Private(self._path.name))
            known = self.index
            found_anew = index_by_decoding(self._path, known.info, len(known))
            self.index = replace(found_anew.first(len(known), self.decoder.time_base), is_part=known.is_part)
            found = self._from_start(frame)
        return found

    def _is_on_the_way(self, frame: int) -> bool:
        """Whether decoding on is at least as quick as a seek."""
        if self._next is None or self._next > frame:
            return False
        return not self._can_seek or self.index.key_before(frame) <= self._next

    def _by_seeking(self, frame: int) -> VideoFrame | None:
        """None where one has to begin at the start."""
        for attempt in range(_ATTEMPTS if self._can_seek else 0):
            key = self.index.key_before(frame, attempt)
            if key == 0:
                return None
            found = self._from_key(key, frame)
            if found is not None:
                return found
        if self._can_seek:
            _log.warning(
                "%s cannot be sought; its frames are found by decoding from the start.", Private(self._path.name)
            )
        self._can_seek = False
        return None

    def _from_key(self, key: int, frame: int) -> VideoFrame | None:
        """Seek to the frame `key` and decode on; None where that does not lead to `frame`."""
        try:
            self._pictures = self.decoder.seek(int(self.index.stamps[key]))
        except (av.error.FFmpegError, OSError):
            self.close()
            return None
        for picture in islice(self._pictures, frame - key + _ASTRAY):
            place = self.index.find(picture, self.decoder.lasting_stamp(picture))
            if place is None or place < key:  # what is shown before the key picture may lack what it refers to
                continue
            # Sums are compared for every picture. Stamps are not enough where a stream refreshes gradually: its "key"
            # pictures are not coded by themselves.
            is_sound = self.index.checks is not None or (place == key and picture.pict_type == PictureType.I)
            if place > frame or not is_sound:
                break
            self._next, self._sought = place + 1, True
            return picture if place == frame else self._decode_to(frame)
        self.close()  # nobody knows where it is now
        return None

    def _from_start(self, frame: int) -> VideoFrame | None:
        self._begin()
        return self._decode_to(frame)

    def _begin(self) -> VideoDecoder:
        self.close()
        self._decoder = decoder = VideoDecoder(self._path, self._warns, self._beside)
        self._pictures = (timed.picture for timed in decoder)
        self._next, self._sought = 0, False
        return decoder

    def _decode_to(self, frame: int) -> VideoFrame | None:
        """None, and no position, where something else comes than the index says."""
        index = self.index
        for picture in self._pictures:
            place = self._next
            if place is None:
                break
            # From the start, counting is enough, unless packets told what to expect.
            is_checked = self._sought or index.checks is None
            if is_checked and not index.is_frame(place, picture, self.decoder.lasting_stamp(picture)):
                break
            self._next = place + 1
            if place == frame:
                return picture
        self.close()
        return None
