"""Switches off what other packages send and keep by themselves.

`wheatear` imports this module before all others, so that the switches are set before the first
import of a package that reads them. Processes that Wheatear starts inherit them.
docs/privacy.md says what is kept where, and what is sent.
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
    "DO_NOT_TRACK": "1",  # whoever follows the convention
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
    """A switch that huggingface_hub has read already, if it was imported."""
    if constants := sys.modules.get(_CONSTANTS):
        setattr(constants, name, value)


def _switch_off_late() -> None:
    """onnxruntime reads its variable as it is imported; its function leaves the first event."""
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
    """Keeps huggingface_hub, and what builds on it, from fetching: only `wheatear pull` does."""
    asked = os.environ.get(_OFFLINE, "").upper() in ("1", "ON", "YES", "TRUE")
    _set_constant("HF_HUB_OFFLINE", True)
    try:
        with _environment({_OFFLINE: "1"}):
            yield
    finally:
        _set_constant("HF_HUB_OFFLINE", asked)  # it may have been imported meanwhile


def cache_folder() -> Path:
    """The folder of what is kept between runs: ~/.cache/wheatear, or where XDG_CACHE_HOME says."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "wheatear"


@contextmanager
def caches_here() -> Iterator[None]:
    """Puts what matplotlib and fontconfig keep into our cache, while they are imported."""
    ours = cache_folder()
    wanted = {"MPLCONFIGDIR": str(ours / "matplotlib"), "XDG_CACHE_HOME": str(ours)}
    if "MPLCONFIGDIR" in os.environ:
        del wanted["MPLCONFIGDIR"]
    with _environment(wanted):
        yield


def torch_cache_here() -> None:
    """Puts what torch compiles into our cache, not into one of its own."""
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
