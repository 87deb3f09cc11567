"""A server with keys, and the table of its routes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from route_table import walk
from server_process import Server, running

from wheatear.server.access.keys import make_key
from wheatear.server.app import routes_of
from wheatear.server.service import Service
from wheatear.server.settings import Settings


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.toml"


@pytest.fixture(scope="session")
def key(key_file: Path) -> str:
    return make_key(key_file, "good")


@pytest.fixture(scope="session")
def other_key(key_file: Path, key: str) -> str:
    return make_key(key_file, "other", streams=2)


@pytest.fixture(scope="session")
def guarded(key_file: Path, key: str, other_key: str) -> Iterator[Server]:
    """A server that needs keys."""
    many = {"WHEATEAR_SERVE_LIMITS_REQUESTS_PER_MINUTE": "1000000"}
    with running("--api-key-file", str(key_file), **many) as server:
        server.key = key
        yield server
        assert "Traceback" not in server.log, server.log


@pytest.fixture(scope="session")
def table() -> list[tuple[str, bool]]:
    service = Service(Settings())
    try:
        return list(walk(routes_of(service)))
    finally:
        service.close()


@pytest.fixture(scope="session")
def shared(key_file: Path, key: str, other_key: str) -> Iterator[Server]:
    """A server with one CORS origin, two host names and trusted proxies."""
    environment = {
        "WHEATEAR_SERVE_CORS_ORIGINS": "https://app.example",
        "WHEATEAR_SERVE_ALLOWED_HOSTS": "asr.example,localhost",
        "WHEATEAR_SERVE_TRUSTED_PROXIES": "127.0.0.1,10.0.0.0/8",
    }
    with running("--api-key-file", str(key_file), **environment) as server:
        server.key = key
        yield server
