"""The most memory that a process has ever held."""

import re
import sys
from pathlib import Path


def peak_rss_mb(process: int | None = None) -> float:
    """Resident megabytes (10^6 bytes) at their peak, of a process by its id or of this one; 0
    where the system does not tell.
    """
    try:
        # Not getrusage: its peak is inherited from the process that started this one.
        path = Path("/proc") / str(process or "self") / "status"
        status = path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0 if process else _by_rusage()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def _by_rusage() -> float:
    try:
        import resource  # noqa: PLC0415  (not on Windows)
    except ModuleNotFoundError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6
