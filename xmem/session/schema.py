"""The forms that the tables in a session's folder may have. A table of any other form is refused as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from xmem.errors import InputError

T = TypeVar("T")

_INT32 = 2**31 - 1
FrameNumber = Annotated[int, Field(ge=0, le=_INT32)]
Count = Annotated[int, Field(ge=0, le=_INT32)]
ObjectId = Annotated[int, Field(ge=1, le=255)]
MaskName = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{1,128}$")]
VideoName = Annotated[str, StringConstraints(pattern=r"^video(\.[a-z0-9]{1,7})?$")]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Coordinate = Annotated[float, Field(ge=-_INT32, le=_INT32, allow_inf_nan=False)]


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
