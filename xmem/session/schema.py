"""The forms that the tables in a session's folder may have. A table of any other form is refused as a whole."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)

from xmem.checkpoints import REGISTRY
from xmem.errors import InputError
from xmem.families import FAMILIES

T = TypeVar("T")

_INT32 = 2**31 - 1
FrameNumber = Annotated[int, Field(ge=0, le=_INT32)]
Count = Annotated[int, Field(ge=0, le=_INT32)]
ObjectId = Annotated[int, Field(ge=1, le=255)]
MaskName = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{1,128}$")]
VideoName = Annotated[str, StringConstraints(pattern=r"^video(\.[a-z0-9]{1,7})?$")]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Coordinate = Annotated[float, Field(ge=-_INT32, le=_INT32, allow_inf_nan=False)]


def memory_as_json(memory: Any) -> dict[str, Any] | None:
    """The form of a family's settings: their values by name, and the family's name."""
    if memory is None:
        return None
    name = next(name for name, family in FAMILIES.items() if type(memory) is family.config)
    return {"family": name} | asdict(memory)


def _memory_of_json(values: Any, info: ValidationInfo) -> Any:
    """The reverse. Without a family's name it was written before settings followed the family: it is XMem's then, and
    other families ran with their released ones, whatever it says."""
    if not isinstance(values, dict):
        return values
    own = REGISTRY.get(info.data.get("model", ""))
    if "family" not in values and own and own.family != "xmem":
        return None
    family = FAMILIES.get(str(values.get("family", "xmem")))
    if family is None:
        raise ValueError("there is no such family of networks")
    rest = {name: value for name, value in values.items() if name != "family"}
    try:
        return TypeAdapter(family.config).validate_json(json.dumps(rest), strict=True, extra="forbid")
    except ValidationError as error:
        raise ValueError(_first(error)) from error


def _is_settings(value: Any) -> Any:
    if value is not None and type(value) not in [family.config for family in FAMILIES.values()]:
        raise ValueError("these are settings of no family of networks")
    return value


# None, or settings of one of the families; of a table whose field `model` comes first.
MemorySettings = Annotated[Any, AfterValidator(_is_settings), BeforeValidator(_memory_of_json)]


def read_json(path: Path, form: TypeAdapter[T], what: str, most: int) -> T:
    """The values of a JSON file of at most `most` bytes, in that form, with no entry beside it.

    what: the beginning of a sentence, such as "The project file". Raises InputError; also where there is no file.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise InputError(f"{what} is missing or cannot be read: start again from the video.") from error
    if len(data) > most:
        raise InputError(f"{what} is larger than any that this program writes: start again from the video.")
    try:
        return form.validate_json(data, strict=True, extra="forbid")
    except ValidationError as error:
        raise InputError(f"{what} is damaged ({_first(error)}): start again from the video.") from error


def _first(error: ValidationError) -> str:
    """Where and why, of the first of the errors."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part)[:40] for part in found["loc"][:6])
    return f"{place}: {found['msg'][:120]}" if place else found["msg"][:120]
