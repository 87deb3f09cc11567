"""Parameters of forms and queries, read by type; a wrong one is rejected by its name."""

import difflib
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from starlette.datastructures import UploadFile

from wheatear.server.api_errors import ApiError

_MAX_NAME = 80
"""Characters of a name that are compared and repeated in an error."""
_MAX_MILLISECONDS = 60_000
_SHARE = re.compile(r"[0-9]*\.?[0-9]+([eE][-+]?[0-9]{1,3})?")


class Parameters:
    """Names and values of a form or query; blank values count as left out.

    Every reader raises ApiError for a value that does not fit, and returns None, or its default,
    for a parameter that is left out.
    """

    def __init__(self, items: Iterable[tuple[str, Any]]) -> None:
        """Takes pairs of name and value, as `multi_items()` returns them."""
        self._items = [
            (name, value.strip() if isinstance(value, str) else value) for name, value in items
        ]

    def check_names(self, known: Collection[str], where: str, lists: Collection[str] = ()) -> None:
        """Raises ApiError for an unknown name.

        Args:
            known: All names that may be given.
            where: Kind of request, for the error.
            lists: The known names that may have brackets: name[], name[0], name[key].
        """
        for given in dict.fromkeys(name for name, _ in self._items):
            name, bracket, _ = given.partition("[")
            if name not in known or (bracket and name not in lists):
                raise unknown_name(given, known, where)

    def lists(self) -> dict[str, list[str]]:
        """Returns the values of each name that has one; a suffix `[]` does not count."""
        values: dict[str, list[str]] = {}
        for name, value in self._items:
            if value:
                values.setdefault(name.removesuffix("[]"), []).append(value)
        return values

    def fields(self, name: str) -> dict[str, str]:
        """Returns the members of an object that is spelled name[key]=value."""
        return {
            given[len(name) + 1 :].removesuffix("]"): self._text_of(name, value)
            for given, value in self._items
            if given.startswith(f"{name}[")
        }

    def texts(self, name: str) -> list[str]:
        """Returns a list: name, name[] or name[0], each any number of times."""
        return [
            self._text_of(name, value)
            for given, value in self._items
            if (given == name or given.startswith(f"{name}[")) and value
        ]

    def text(self, name: str) -> str | None:
        """Returns a value that may be given once."""
        values = {
            self._text_of(name, value)
            for given, value in self._items
            if given.removesuffix("[]") == name and value
        }
        if len(values) > 1:
            raise _wrong(name, f"is given with {len(values)} values")
        return next(iter(values), None)

    def choices(self, name: str, known: Sequence[str]) -> list[str]:
        """Returns a list of known values, in lower case."""
        values = [value.lower() for value in self.texts(name)]
        for value in values:
            if value not in known:
                raise ApiError(
                    400, f"{value[:50]!r} is none of {', '.join(known)}", code="invalid_value",
                    param=name,
                )  # fmt: skip
        return values

    def flag(self, name: str) -> bool:
        """Returns a boolean; False if it is left out."""
        value = (self.text(name) or "false").lower()
        if value not in ("true", "false", "1", "0"):
            raise _wrong(name, "must be true or false")
        return value in ("true", "1")

    def number(self, name: str) -> int | None:
        """Returns a whole number above 0."""
        value = self._whole(name)
        if value == 0:
            raise _wrong(name, "must be above 0")
        return value

    def milliseconds(self, name: str, usual: int | None = None) -> int | None:
        """Returns a time; `usual` for "true" and where it is left out, None for "false"."""
        value = (self.text(name) or "").lower()
        if value == "false":
            return None
        if not value or (value == "true" and usual is not None):
            return usual
        number = self._whole(name)
        if number is not None and number > _MAX_MILLISECONDS:
            raise _wrong(name, f"may be {_MAX_MILLISECONDS} at most")
        return number

    def share(self, name: str) -> float | None:
        """Returns a number from 0 to 1."""
        if (value := self.text(name)) is None:
            return None
        if not (_SHARE.fullmatch(value) and float(value) <= 1):
            raise _wrong(name, "must be a number from 0 to 1")
        return float(value)

    def file(self, name: str) -> UploadFile:
        """Returns the one file of a form."""
        given = [value for key, value in self._items if key == name]
        if not given:
            raise ApiError(400, f"there is no {name} in the form", code="missing", param=name)
        if len(given) > 1:
            raise _wrong(
                name, f"is given {len(given)} times; send each file in a request of its own"
            )
        if not isinstance(given[0], UploadFile):
            raise ApiError(400, f"the part {name!r} is no file", code="missing", param=name)
        return given[0]

    def _whole(self, name: str) -> int | None:
        value = self.text(name)
        if value is None:
            return None
        if not re.fullmatch("[0-9]{1,7}", value):
            raise _wrong(name, "must be a whole number")
        return int(value)

    def _text_of(self, name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise _wrong(name, "is a file, not text")
        return value


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Returns the known name that is closest to a misspelled one, if any is close.

    camelCase counts as snake_case, and letter case does not matter.
    """
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name[:_MAX_NAME]).replace("-", "_").lower()
    return next(iter(difflib.get_close_matches(plain, list(known), 1, 0.75)), None)


def unknown_name(name: str, known: Iterable[str], where: str) -> ApiError:
    """Returns the error for an unknown name, with the known one that was probably meant."""
    known = sorted(known)
    meant = nearest(name, known)
    hint = f"did you mean {meant!r}?" if meant else f"known are {', '.join(known)}"
    return ApiError(
        400, f"{name[:_MAX_NAME]!r} is not known {where}; {hint}", code="unknown_parameter",
        param=name[:_MAX_NAME],
    )  # fmt: skip


def _wrong(name: str, why: str) -> ApiError:
    return ApiError(400, f"{name} {why}", code="invalid_value", param=name)
