"""Stands-in for packages that are not installed here."""

import sys
from types import ModuleType

import pytest


def stub_package(monkeypatch: pytest.MonkeyPatch, name: str, engine: str, **contents) -> None:
    """Installs a package of these contents and unloads the engine that imports it."""
    made = ModuleType(name)
    vars(made).update(contents)
    monkeypatch.setitem(sys.modules, name, made)
    monkeypatch.delitem(sys.modules, f"wheatear.evaluate.engines.{engine}", False)
