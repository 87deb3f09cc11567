"""File descriptors: the number that the system allows, and limits that fit it."""

import contextlib

import msgspec

from wheatear.errors import SettingsError
from wheatear.server.settings import Limits

_OWN = 36  # models, libraries, log, listeners, and a reserve while processes start
_PER_FILE = 4  # a file in work, and the pipes of its decoder
_MIN_CONNECTIONS = 4
_ENOUGH = 1 << 16  # requested where the system has no bound
_UNKNOWN = 2048  # assumed on Windows


def raise_limit() -> int:
    """Raises the number of open files to the maximum of the system, and returns it."""
    try:
        import resource  # noqa: PLC0415  (Windows has none)
    except ImportError:
        return _UNKNOWN
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _ENOUGH
    wanted = max(soft, _ENOUGH) if hard == resource.RLIM_INFINITY else hard
    with contextlib.suppress(OSError, ValueError):  # macOS allows less than it reports
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def fit_limits(
    limits: Limits, connections: int, max_files: int, listeners: int
) -> tuple[Limits, int]:
    """Returns limits, and a number of connections, for which `max_files` open files are enough.

    Args:
        limits: Limits of the settings.
        connections: Connections of each listener.
        max_files: Open files that the process may have.
        listeners: Number of listeners.

    Raises:
        SettingsError: If `max_files` is too low for any service.
    """
    free = max_files - _OWN
    if limits.files * _PER_FILE + limits.uploads + connections * listeners <= free:
        return limits, connections
    files, uploads = min(limits.files, max(1, free // 16)), min(limits.uploads, max(1, free // 8))
    fitting = min(connections, (free - files * _PER_FILE - uploads) // listeners)
    if fitting < _MIN_CONNECTIONS:
        raise SettingsError(
            f"the system allows this process {max_files} open files, too few to serve with; raise "
            f"the limit (ulimit -n 1024, or LimitNOFILE in a unit)"
        )
    streams = min(limits.streams, max(1, fitting * 3 // 4))
    fitted = msgspec.structs.replace(limits, files=files, uploads=uploads, streams=streams)
    return fitted, fitting


def changes(before: Limits, after: Limits) -> list[str]:
    """Returns the limits that differ, each with both values."""
    pairs = ((n, getattr(before, n), getattr(after, n)) for n in before.__struct_fields__)
    return [f"{name} {old} -> {new}" for name, old, new in pairs if old != new]
