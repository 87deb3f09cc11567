"""File descriptors: the number that the system allows, and limits that fit into it."""

import contextlib

import msgspec

from wheatear.errors import SettingsError
from wheatear.server.settings import Limits

_OWN = 36  # of models, libraries, log and listeners, with some to spare while processes start
_OF_FILE = 4  # of one that is transcribed: itself and the pipes of its decoder
_LEAST = 4  # connections without which there is no service
_ENOUGH = 1 << 16  # to ask for where the system names no bound
_UNKNOWN = 2048  # on systems that do not say


def raise_limit() -> int:
    """Raises the number of open files to what the system allows, and returns it."""
    try:
        import resource  # noqa: PLC0415  (Windows has none)
    except ImportError:
        return _UNKNOWN
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _ENOUGH
    wanted = max(soft, _ENOUGH) if hard == resource.RLIM_INFINITY else hard
    with contextlib.suppress(OSError, ValueError):  # macOS allows less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def fitted(limits: Limits, most: int, listeners: int) -> Limits:
    """Limits for which that many open files are enough.

    Args:
        limits: The limits as they were set.
        most: Open files that the process may have.
        listeners: Listeners, each of which has connections of its own.

    Raises:
        SettingsError: If there is no room for a service at all.
    """
    free = most - _OWN
    if limits.files * _OF_FILE + limits.uploads + limits.connections * listeners <= free:
        return limits
    files, uploads = min(limits.files, max(1, free // 16)), min(limits.uploads, max(1, free // 8))
    connections = min(limits.connections, (free - files * _OF_FILE - uploads) // listeners)
    if connections < min(_LEAST, limits.connections):
        raise SettingsError(
            f"the system allows this process {most} open files, too few to serve with; raise the "
            f"limit (ulimit -n 1024, or LimitNOFILE in a unit)"
        )
    streams = min(limits.streams, max(1, connections * 3 // 4))
    return msgspec.structs.replace(
        limits, files=files, uploads=uploads, connections=connections, streams=streams
    )


def differences(before: Limits, after: Limits) -> str:
    """The limits that differ, with both values."""
    pairs = ((n, getattr(before, n), getattr(after, n)) for n in before.__struct_fields__)
    return ", ".join(f"{name} {old} -> {new}" for name, old, new in pairs if old != new)
