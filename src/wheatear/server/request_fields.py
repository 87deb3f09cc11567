"""Fields of forms: each understood, or refused by its name."""

import re
from collections.abc import Collection, Sequence

from starlette.datastructures import FormData, UploadFile

from wheatear.server.api_errors import ApiError
from wheatear.server.known_names import unknown


def check_names(form: FormData, known: Collection[str], lists: Collection[str]) -> None:
    """Raises ApiError for a field that is not known.

    lists: those of the known ones that are spelled with brackets, too: name[], name[0], name[key].
    """
    for given in dict.fromkeys(key for key, _ in form.multi_items()):
        name, bracket, _ = given.partition("[")
        if name not in known or (bracket and name not in lists):
            raise unknown(given, known, "in this form")


def upload_of(form: FormData) -> UploadFile:
    """The one file of a form.  Raises ApiError."""
    given = form.getlist("file")
    if not given:
        raise ApiError(400, "there is no file in the form", code="missing", param="file")
    if len(given) > 1:
        raise ApiError(
            400, f"file is given {len(given)} times; send each file in a request of its own",
            code="invalid_value", param="file",
        )  # fmt: skip
    if not isinstance(given[0], UploadFile):
        raise ApiError(400, "the part 'file' is no file", code="missing", param="file")
    return given[0]


def text(form: FormData, name: str) -> str | None:
    """The value of a field; None where it is empty or left out.  Raises ApiError."""
    values = form.getlist(name)
    if len(values) > 1:
        raise ApiError(
            400, f"{name} is given {len(values)} times", code="invalid_value", param=name
        )
    if values and not isinstance(values[0], str):
        raise ApiError(400, f"{name} is a file, not text", code="invalid_value", param=name)
    return str(values[0]) if values and values[0] else None


def listed(form: FormData, name: str) -> list[str]:
    """A list, which forms spell in three ways.  Raises ApiError."""
    values = [v for key, v in form.multi_items() if key == name or key.startswith(f"{name}[")]
    if not all(isinstance(value, str) for value in values):
        raise ApiError(400, f"{name} holds a file, not text", code="invalid_value", param=name)
    return [value for value in values if isinstance(value, str) and value]


def number(form: FormData, name: str) -> int | None:
    """A whole number above 0; None where it is left out.  Raises ApiError."""
    value = (text(form, name) or "").strip()
    if not value:
        return None
    if not (re.fullmatch("[0-9]{1,7}", value) and int(value)):
        raise ApiError(
            400, f"{name} must be a whole number above 0", code="invalid_value", param=name
        )
    return int(value)


def share(form: FormData, name: str) -> float | None:
    """A number from 0 to 1; None where it is left out.  Raises ApiError."""
    value = (text(form, name) or "").strip()
    if not value:
        return None
    if not (re.fullmatch(r"[0-9]*\.?[0-9]+([eE][-+]?[0-9]{1,3})?", value) and float(value) <= 1):
        raise ApiError(
            400, f"{name} must be a number from 0 to 1", code="invalid_value", param=name
        )
    return float(value)


def flag(form: FormData, name: str) -> bool:
    """True or false; false where it is left out.  Raises ApiError."""
    value = (text(form, name) or "false").strip().lower()
    if value not in ("true", "false", "1", "0"):
        raise ApiError(400, f"{name} must be true or false", code="invalid_value", param=name)
    return value in ("true", "1")


def one_of(value: str, known: Sequence[str], param: str) -> str:
    """A value that is one of the known ones, as these are written.  Raises ApiError."""
    plain = value.strip().lower()
    if plain not in known:
        raise ApiError(
            400, f"{value[:50]!r} is none of {', '.join(known)}", code="invalid_value", param=param
        )
    return plain
