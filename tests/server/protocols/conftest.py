"""Servers that the tests of protocols share."""

import openai
import pytest
from server_process import running
from wyoming_client import port_of


@pytest.fixture(scope="module")
def home():
    """A server with Wyoming's protocol."""
    with running("--wyoming-port", "0") as server:
        server.wyoming = port_of(server)
        yield server
        assert "Traceback" not in server.log, server.log


@pytest.fixture
def quiet_home(home):
    """The server with Wyoming's protocol, on which nothing may be left when the test is over."""
    yield home
    home.wait_for_rest()


@pytest.fixture(scope="module")
def openai_client(server):
    """OpenAI's SDK, connected to the shared server."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client
