"""Server: files, live WebSockets and a page over one scheduler (extra `server`)."""

from importlib import import_module
from typing import Any

_HOME_OF = {"Service": "service", "create_app": "app", "read_settings": "settings"}
__all__ = ["Service", "create_app", "read_settings"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
