"""Servers that the tests of protocols share."""

import pytest
from server_process import running
from wyoming_client import port_of


@pytest.fixture(scope="module")
def home():
    """A server with the protocol."""
    with running("--wyoming-port", "0") as server:
        server.wyoming = port_of(server)
        yield server
        assert "Traceback" not in server.log, server.log


@pytest.fixture
def quiet_home(home):
    yield home
    home.wait_for_rest()
