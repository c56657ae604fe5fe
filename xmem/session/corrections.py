"""What a correction does to key frames and objects: plain values in, plain values out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from xmem.errors import InputError
from xmem.render.palette import OBJECT_COLORS
from xmem.session.project import MAX_NAME, Edit, KeyFrame, SessionObject

COLORS = len(OBJECT_COLORS)


def with_key_frame(edit: Edit, key: KeyFrame, colors: Mapping[int, int]) -> Edit:
    """With a key frame added or replaced; ids that are new become objects, of `colors` where these name them."""
    objects = list(edit.objects)
    for color in colors.values():
        _check_color(color)
    for i in key.objects:
        if all(item.id != i for item in objects):
            used = {item.color for item in objects}
            free = [place for place in range(COLORS) if place not in used]
            objects.append(SessionObject(i, f"Object {i}", colors.get(i, (free or [(i - 1) % COLORS])[0])))
    others = (old for old in edit.key_frames if old.frame != key.frame)
    return Edit(tuple(objects), tuple(sorted([*others, key], key=lambda item: item.frame)))


def without_key_frame(edit: Edit, frame: int) -> Edit:
    """Without the key frame on `frame`, and without the objects that were on it alone."""
    kept = tuple(key for key in edit.key_frames if key.frame != frame)
    if len(kept) == len(edit.key_frames):
        raise InputError(f"Frame {frame} is no key frame: choose one of those listed.")
    shown = {i for key in kept for i in key.objects}
    return Edit(tuple(item for item in edit.objects if item.id in shown), kept)


def with_object(edit: Edit, object_id: int, name: str | None, color: int | None, visible: bool | None) -> Edit:
    """With an object's name, colour or visibility changed; an object that has the colour already takes its old one."""
    old = object_of(edit, object_id)
    if color is not None:
        _check_color(color)
    new = SessionObject(
        object_id,
        old.name if name is None else _one_line(name),
        old.color if color is None else color,
        old.visible if visible is None else visible,
    )
    objects = []
    for item in edit.objects:
        if item.id == object_id:
            objects.append(new)
        else:
            objects.append(replace(item, color=old.color) if item.color == new.color else item)
    return replace(edit, objects=tuple(objects))


def without_object(edit: Edit, object_id: int) -> Edit:
    """Without an object, on all key frames; without any object there are no key frames either."""
    object_of(edit, object_id)
    objects = tuple(item for item in edit.objects if item.id != object_id)
    keys = (replace(key, objects=tuple(i for i in key.objects if i != object_id)) for key in edit.key_frames)
    return Edit(objects, tuple(keys) if objects else ())


def object_of(edit: Edit, object_id: int) -> SessionObject:
    """The object of an id. Raises InputError where there is none."""
    for item in edit.objects:
        if item.id == object_id:
            return item
    raise InputError(f"There is no object {object_id}: choose one of those listed.")


def _one_line(name: str) -> str:
    return " ".join(name.split())[:MAX_NAME].rstrip() or "Object"


def _check_color(color: int) -> None:
    if type(color) is not int or not 0 <= color < COLORS:
        raise InputError(f"Colours are whole numbers from 0 to {COLORS - 1}, not {color!r}.")
