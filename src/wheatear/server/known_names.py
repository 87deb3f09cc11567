"""Unknown names from a client: refused, with the known one that was probably meant."""

import difflib
import re
from collections.abc import Iterable

from starlette.datastructures import QueryParams

from wheatear.server.api_errors import ApiError

_SHOWN = 80  # characters of a name that are compared and repeated


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is closest to a misspelled one, if any is close.

    camelCase counts as snake_case, and letter case does not matter.
    """
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name[:_SHOWN]).replace("-", "_").lower()
    return next(iter(difflib.get_close_matches(plain, list(known), 1, 0.75)), None)


def unknown(name: str, known: Iterable[str], where: str) -> ApiError:
    """The refusal of an unknown name.  where: the place in which it was given."""
    known = sorted(known)
    meant = nearest(name, known)
    hint = f"did you mean {meant!r}?" if meant else f"known are {', '.join(known)}"
    return ApiError(
        400, f"{name[:_SHOWN]!r} is not known {where}; {hint}", code="unknown_parameter",
        param=name[:_SHOWN],
    )  # fmt: skip


def single_values(query: QueryParams, known: Iterable[str], where: str) -> dict[str, str]:
    """A query's values by name; empty ones are left out.

    Raises ApiError for a name that is not known, and for two values of one.
    """
    known, values = tuple(known), {}
    for name in query:
        if name not in known:
            raise unknown(name, known, where)
        given = {value for value in query.getlist(name) if value.strip()}
        if len(given) > 1:
            raise ApiError(
                400, f"{name} is given with {len(given)} values", code="invalid_value", param=name
            )
        if given:
            values[name] = given.pop()
    return values
