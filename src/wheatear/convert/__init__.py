"""Converts a checkpoint into a bundle, without torch or NeMo."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wheatear.convert.pipeline import Deviation, convert

__all__ = ["Deviation", "convert"]


def __getattr__(name: str) -> Any:  # onnx and yaml are an extra: imported when they are needed
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("wheatear.convert.pipeline"), name)
