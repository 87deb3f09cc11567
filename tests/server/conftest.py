"""Servers for real clients, and speech for them."""

from collections.abc import Iterator

import numpy as np
import pytest
from server_process import Server, running

from wheatear.audio.reader import sample_speech
from wheatear.server.service import Service
from wheatear.server.settings import Settings


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server with the shipped model, shared by tests that leave it as they found it."""
    with running(WHEATEAR_SERVE_LIMITS_REQUESTS_PER_MINUTE="1000000") as server:
        yield server
        assert "Traceback" not in server.log, server.log


@pytest.fixture
def quiet_server(server: Server) -> Iterator[Server]:
    """The shared server, on which nothing may be left when the test is over."""
    yield server
    server.wait_for_rest()


@pytest.fixture(scope="session")
def spoken() -> np.ndarray:
    """The sample recording, 16 kHz int16, with a second and a half of silence after it."""
    samples = np.round(sample_speech() * 32767).astype(np.int16)
    return np.concatenate([samples, np.zeros(24_000, np.int16)])


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A server with the shipped model in this process, which listens nowhere."""
    service = Service(Settings())
    yield service
    service.close()
