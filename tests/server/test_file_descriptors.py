"""Open files: limits that fit into what the system allows, and a server that has few of them."""

import contextlib
import json
import resource
import threading
import time

import pytest
import raw_socket as raw
from raw_socket import connection, request, upload
from server_process import SAMPLE, running

from wheatear.errors import SettingsError
from wheatear.server.file_descriptors import changes, fit_limits, raise_limit
from wheatear.server.settings import Limits

SECONDS = 30


def test_fitting_limits_are_unchanged():
    assert fit_limits(Limits(), 1000, 1 << 16, 2) == (Limits(), 1000)


@pytest.mark.parametrize("listeners", [1, 2])
@pytest.mark.parametrize("most", [64, 100, 256, 1024])
def test_limits_are_lowered_to_the_open_files(most, listeners):
    limits, connections = fit_limits(Limits(), 1000, most, listeners)
    used = limits.files * 4 + limits.uploads + connections * listeners
    assert used <= most - 30
    assert 1 <= limits.streams <= connections
    assert limits.files >= 1
    assert limits.uploads >= limits.files
    assert connections < 1000
    assert changes(Limits(streams=9), Limits(streams=3)) == ["streams 9 -> 3"]


def test_too_few_open_files_are_rejected_with_advice():
    with pytest.raises(SettingsError, match="ulimit -n"):
        fit_limits(Limits(), 1000, 40, 1)


def test_soft_limit_is_raised_to_the_hard_limit():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        assert raise_limit() == hard or hard == resource.RLIM_INFINITY
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def poor(*arguments: str, files: int = 64):
    """A server that may have few files open."""
    with running(*arguments, ulimit=f"-n {files}") as server:
        yield server
        assert "Traceback" not in server.log, server.log[:2000]


def test_server_with_few_files_serves_and_logs_it_once():
    with poor() as server, contextlib.ExitStack() as held:
        assert server.log.count("64 open files") == 1
        for _ in range(150):
            held.enter_context(connection(server.port))
        deadline = time.monotonic() + SECONDS
        while server.get("/health")[0] != 200:
            assert time.monotonic() < deadline
        lines = len(server.log.splitlines())
        time.sleep(1.5)
        assert len(server.log.splitlines()) - lines < 5
        assert server.used()["descriptors"] <= 64
        held.close()
        answer = raw.answer(server.port, upload(raw.form([], [("file", SAMPLE.read_bytes())])))
        assert raw.status(answer) == 200


def test_simultaneous_requests_wait_with_few_files():
    with poor() as server:
        got = []
        threads = [
            threading.Thread(target=lambda: got.append(raw.answer(server.port, request())))
            for _ in range(100)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
        assert sum(raw.status(answer) == 200 for answer in got) > 60
        assert server.get("/health")[0] == 200


def test_sockets_are_rejected_with_few_files():
    with poor() as server, contextlib.ExitStack() as held:
        refused = 0
        for _ in range(40):
            client = held.enter_context(connection(server.port))
            client.sendall(raw.handshake())
            client.settimeout(SECONDS)
            refused += raw.status(client.recv(1 << 16)) in (429, 503)
        assert refused
        assert server.get("/health")[0] == 200


def test_wyoming_serves_with_few_files():
    with poor("--wyoming-port", "0", files=80) as server, contextlib.ExitStack() as held:
        port = int(server.process.stdout.readline().split(":")[-1].split()[0])
        for _ in range(100):
            held.enter_context(connection(port))
        client = held.enter_context(connection(port))
        client.sendall(b'{"type": "describe"}\n')
        client.settimeout(SECONDS)
        assert json.loads(client.recv(1 << 16).split(b"\n")[0])["type"] == "info"
        assert server.get("/health")[0] == 200
        assert server.used()["descriptors"] <= 80
