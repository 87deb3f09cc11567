"""A key file that changes under a running server."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from server_process import running

from wheatear.server.access.key_reload import KeyFile
from wheatear.server.access.keys import make_key, read_keys

TODAY = datetime.now(UTC).date()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def until(there, seconds=30):
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def test_keys_come_and_go_and_secrets_with_them(file):
    first = make_key(file, "first")
    ring = read_keys(file)
    watched = KeyFile(file, ring)
    secret, _ = ring.issue(ring.client(first), 600)
    assert ring.client(secret).name == "first"
    second = make_key(file, "second")
    asyncio.run(watched.reload())
    assert ring.client(second).name == "second"
    assert ring.client(secret).name == "first"
    other = file.with_name("other")
    third = make_key(other, "first")  # the name again, with another key
    other.replace(file)  # as editors and Kubernetes do
    asyncio.run(watched.reload())
    assert ring.client(third).name == "first"
    assert [ring.client(key) for key in (first, second, secret)] == [None] * 3


@pytest.mark.parametrize("content", ["", "[[key]", "\xff", None, '[[key]]\nname = "a"'])
def test_a_fault_in_the_file_changes_no_key(file, content, caplog):
    key = make_key(file, "first")
    ring = read_keys(file)
    watched = KeyFile(file, ring)
    file.unlink()
    if content is not None:
        file.write_bytes(content.encode("latin-1"))
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            asyncio.run(watched.reload())
    assert ring.client(key).name == "first"
    assert len(caplog.records) == 1
    assert "the keys stay as they were" in caplog.text
    file.unlink(missing_ok=True)
    other = make_key(file, "second")
    asyncio.run(watched.reload())
    assert ring.client(key) is None
    assert ring.client(other).name == "second"


@pytest.mark.parametrize("forced", [True, False])
def test_server_follows_the_key_file(file, forced):
    first = make_key(file, "first")
    with running("--api-key-file", str(file)) as server:
        assert server.get("/v1/models", **{"x-api-key": first})[0] == 200
        before = file.stat()
        second = make_key(file, "second")
        assert server.get("/v1/models", **{"x-api-key": first})[0] == 200
        if forced:
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
            server.process.send_signal(signal.SIGHUP)
        until(lambda: server.get("/v1/models", **{"x-api-key": second})[0] == 200)
        file.write_text("[[key")
        until(lambda: "the keys stay as they were" in server.log)
        assert server.get("/v1/models", **{"x-api-key": second})[0] == 200
        assert server.process.poll() is None
        assert server.stop() == 0


def test_a_key_expires_with_its_day_and_its_secrets_too(file):
    key = make_key(file, "guest", expires=TODAY)
    ring = read_keys(file)
    holder = ring.client(key)
    assert not holder.expired
    secret, _ = ring.issue(holder, 600)
    file.write_text(file.read_text().replace(str(TODAY), str(TODAY - timedelta(1))))
    asyncio.run(KeyFile(file, ring).reload(force=True))
    assert ring.client(key).expired
    assert ring.client(secret).expired
    with running("--api-key-file", str(file)) as server:
        status, answer = server.get("/v1/models", **{"x-api-key": key})
        assert status == 401
        assert f"worked up to {TODAY - timedelta(1)}" in answer


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wheatear", "key", *arguments],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_the_command_makes_such_keys(file):
    day = str(TODAY + timedelta(30))
    options = ["--expires", day, "--scope", "transcribe", "--scope", "metrics"]
    done = command("guest", "--file", str(file), *options)
    assert done.returncode == 0, done.stderr
    holder = read_keys(file).client(done.stdout.strip())
    assert (holder.name, holder.expires) == ("guest", date.fromisoformat(day))
    assert holder.scopes == ("transcribe", "metrics")
    for wrong, reason in (
        (["--expires", "31.12.2030"], "is not a day"),
        (["--expires", str(TODAY - timedelta(1))], "in the past"),
        (["--scope", "everything"], "transcribe, secrets, metrics"),
    ):  # fmt: skip
        done = command("other", "--file", str(file), *wrong)
        assert done.returncode == 2
        assert reason in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr
    assert len(read_keys(file).clients) == 1
