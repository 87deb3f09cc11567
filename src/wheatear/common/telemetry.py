"""Switches off telemetry of other packages, and moves their caches into Wheatear's.

`wheatear` imports this module first, so that the switches are set before the first import of a
package that reads them. Processes that Wheatear starts inherit them. docs/privacy.md lists all
stored and sent data.
"""

import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SWITCHES = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime since 1.29: events, device id, queue on disk
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, and transformers by it
    "DO_NOT_TRACK": "1",  # packages that follow the convention
}
_ORT = "onnxruntime"
_CONSTANTS = "huggingface_hub.constants"
_OFFLINE = "HF_HUB_OFFLINE"
_FIRST_WITH_TELEMETRY = (1, 29)


def switch_off() -> None:
    """Sets the switches, and those of packages that were imported before."""
    late = os.environ.get("ORT_DISABLE_TELEMETRY", "0") in ("", "0")
    os.environ.update(SWITCHES)
    if late and _ORT in sys.modules:
        _switch_off_late()
    _set_constant("HF_HUB_DISABLE_TELEMETRY", True)


def _set_constant(name: str, value: bool) -> None:
    """Sets a switch that huggingface_hub read when it was imported."""
    if constants := sys.modules.get(_CONSTANTS):
        setattr(constants, name, value)


def _switch_off_late() -> None:
    """Disables telemetry of an onnxruntime that was imported before; warns that it came late."""
    module = sys.modules[_ORT]
    if disable := getattr(module, "disable_telemetry_events", None):
        disable()
    version = tuple(map(int, str(getattr(module, "__version__", "0.0")).split(".")[:2]))
    if version >= _FIRST_WITH_TELEMETRY:
        warnings.warn(
            "onnxruntime was imported before wheatear and may send telemetry: import wheatear "
            "first, or set ORT_DISABLE_TELEMETRY=1",
            RuntimeWarning,
            stacklevel=2,
        )


@contextmanager
def hub_offline() -> Iterator[None]:
    """Keeps huggingface_hub, and packages that use it, from fetching; only `pull` fetches."""
    was_offline = os.environ.get(_OFFLINE, "").upper() in ("1", "ON", "YES", "TRUE")
    _set_constant("HF_HUB_OFFLINE", True)
    try:
        with _environment({_OFFLINE: "1"}):
            yield
    finally:
        _set_constant("HF_HUB_OFFLINE", was_offline)  # it may have been imported meanwhile


def cache_folder() -> Path:
    """Returns the folder of the cache: `wheatear` in $XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wheatear"


@contextmanager
def caches_here() -> Iterator[None]:
    """Moves the caches of matplotlib and fontconfig into Wheatear's while they are imported."""
    ours = cache_folder()
    wanted = {"MPLCONFIGDIR": str(ours / "matplotlib"), "XDG_CACHE_HOME": str(ours)}
    if "MPLCONFIGDIR" in os.environ:
        del wanted["MPLCONFIGDIR"]
    with _environment(wanted):
        yield


def torch_cache_here() -> None:
    """Moves the cache of torch's compiler into Wheatear's."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "torch"))


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


switch_off()
