"""docs/serving.md names every setting and every route."""

from pathlib import Path

import msgspec

from wheatear.server.app import routes_of
from wheatear.server.service import Service
from wheatear.server.settings import Limits, Settings

TEXT = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()


def test_every_setting_is_documented():
    names = [f.name for f in msgspec.structs.fields(Settings) if f.name != "limits"]
    names += [f"limits.{field.name}" for field in msgspec.structs.fields(Limits)]
    assert [name for name in names if f"`{name}`" not in TEXT] == []


def test_every_route_is_documented():
    service = Service(Settings())
    try:
        paths = {route.path for route in routes_of(service)} - {"/favicon.ico", "/page"}
    finally:
        service.close()
    text = TEXT.replace("{id}", "{name:path}")
    assert [path for path in paths if path not in text] == []
