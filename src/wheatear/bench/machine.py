"""The machine of a measurement, and the peak memory of a process."""

import os
import platform
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

import wheatear
from wheatear.model.native_library import NATIVE_VARIABLE, native_isa
from wheatear.model.onnx_session import default_threads

# Instruction sets that matter for products of 8-bit numbers, by their names in Linux.
_FLAGS = (
    *("ssse3", "sse4_1", "avx", "f16c", "fma", "avx2", "avx512f", "avx512bw", "avx512_vnni"),
    *("avx_vnni", "avx512_bf16", "amx_int8", "asimd", "asimddp", "i8mm", "sve", "sve2"),
)
_READ_BYTES = 1 << 27  # more than the caches of a core hold
_VARIABLES = (
    "OPENBLAS",
    "OMP_",
    "MKL_",
    "GOTO_",
    "ORT_",
    "GLIBC_TUNABLES",
    "MALLOC_",
    NATIVE_VARIABLE,
)


def describe_machine() -> dict[str, Any]:
    """Processor, system, versions, and environment variables that affect speed."""
    cpu, flags = _processor()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu,
        "flags": [flag for flag in _FLAGS if flag in flags],
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "default_threads": default_threads(),
        "memory_gb": _memory_gb(),
        "reads_gb_s": {str(n): round(reads_gb_s(n), 1) for n in sorted({1, default_threads()})},
        "system": platform.platform(),
        "python": platform.python_version(),
        "wheatear": wheatear.__version__,
        "onnxruntime": ort.__version__,
        "wheatear_native": _version("wheatear-native"),
        "native_path": native_isa(),
        "numpy": np.__version__,
        "environment": {
            name: value for name, value in sorted(os.environ.items()) if name.startswith(_VARIABLES)
        },
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }


def reads_gb_s(threads: int) -> float:
    """Memory read rate of `threads` threads in GB/s: the best of six trials.

    A chunk of one stream reads all weights once, so the rate bounds its speed.
    """
    parts = np.array_split(np.ones(_READ_BYTES // 8, np.int64), threads)
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(6):
            start = time.perf_counter()
            list(pool.map(np.max, parts))
            best = max(best, _READ_BYTES / (time.perf_counter() - start))
    return best / 1e9


def peak_rss_mb(process: int | None = None) -> float:
    """Peak resident memory in MB (10^6 bytes); 0 if the system does not report it.

    Args:
        process: Process id; None for this process.
    """
    try:
        # Not getrusage: its peak is inherited from the parent process.
        path = Path("/proc") / str(process or "self") / "status"
        status = path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0 if process else _rusage_mb()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def _rusage_mb() -> float:
    try:
        import resource  # noqa: PLC0415  (not on Windows)
    except ModuleNotFoundError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _processor() -> tuple[str, set[str]]:
    """Name and flags, where the system reports them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _mac_processor() or platform.processor() or platform.machine(), set()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    return name[1] if name else platform.machine(), set(flags[1].split()) if flags else set()


def _mac_processor() -> str:
    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return ""


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None
