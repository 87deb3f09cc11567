"""Checks of arguments, with errors of one line that name the option and the accepted values."""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

from wheatear.errors import OptionError, WheatearError

_LONGEST = 60
"""Characters of a value in a message."""


def check_number(
    name: str,
    value: Any,
    low: float,
    high: float,
    unit: str = "",
    whole: bool = False,
    error: Callable[[str], WheatearError] = OptionError,
) -> None:
    """Raises the error unless the value is a number from `low` to `high`, both included."""
    number = _is_number(value, Integral if whole else Real)
    if not number or not low <= value <= high:
        kind = "a whole number from " if whole and not number else ""
        wanted = f"{kind}{low:.12g} to {high:.12g} {unit}".rstrip()
        raise error(f"{name} is {shown(value)}; give {wanted}")


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def check_kind(
    name: str,
    value: Any,
    kind: type | tuple[type, ...],
    wanted: str,
    error: Callable[[str], WheatearError] = OptionError,
) -> None:
    """Raises the error unless the value is of a type. wanted: description of accepted values."""
    if not isinstance(value, kind):
        raise error(f"{name} is {shown(value)}; give {wanted}")


def shown(value: Any) -> str:
    """Returns the value for a message, as one short line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
