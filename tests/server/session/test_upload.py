"""Uploads: forms of every shape, a disk that is full, and clients that send slowly."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import hostile_media
import msgspec
import numpy as np
import pytest
import raw_socket as raw
from raw_socket import connection, upload
from server_process import SAMPLE, Server, running

from wheatear.server.access.keys import make_key

FLAC = SAMPLE.read_bytes()
SECONDS = 30


@pytest.fixture(scope="module")
def long_wav() -> bytes:
    """Two megabytes of speech, more than is kept in memory."""
    samples = (np.tile(hostile_media.speech(), 17) * 32767).astype("<i2").tobytes()
    size = len(samples)
    head = b"RIFF" + (36 + size).to_bytes(4, "little") + b"WAVEfmt \x10\0\0\0\1\0\1\0"
    head += (16_000).to_bytes(4, "little") + (32_000).to_bytes(4, "little") + b"\2\0\x10\0data"
    return head + size.to_bytes(4, "little") + samples


def error_of(answer: bytes) -> dict[str, str]:
    return msgspec.json.decode(answer.partition(b"\r\n\r\n")[2])["error"]


def part(head: str, data: bytes) -> bytes:
    return b"--EDGE\r\n" + head.encode() + b"\r\n\r\n" + data + b"\r\n"


def posted(server: Server, *parts: bytes, end: bytes = b"--EDGE--\r\n", **headers: str) -> bytes:
    return raw.answer(server.port, upload(b"".join(parts) + end, **headers))


DISPOSITION = "Content-Disposition: form-data; name="


@pytest.mark.parametrize(
    "head",
    [
        f'{DISPOSITION}"file"',
        f'{DISPOSITION}"file"\r\nContent-Type: audio/flac',
        f"{DISPOSITION}\"file\"; filename*=UTF-8''%e5%a3%b0.flac",
        f"{DISPOSITION}file; filename*=utf-8'en'a.flac",
        f'{DISPOSITION}"file"; filename=""',
        f'{DISPOSITION}"file"; filename="a.flac"; filename*=UTF-8\'\'a.flac',
        f'{DISPOSITION.lower()}"file"; FileName="a.flac"',
        f'Content-Type: application/octet-stream\r\n{DISPOSITION}"file"',
        f'{DISPOSITION}"file"; filename="ä\x7f;=\\".flac"\r\nContent-Transfer-Encoding: binary',
    ],
)
def test_a_file_is_one_with_and_without_a_name(quiet_server, head):
    answer = posted(quiet_server, part(head, FLAC))
    assert raw.status(answer) == 200, answer[-300:]
    assert b"sorry" in answer


@pytest.mark.parametrize(
    ("parts", "status", "reason"),
    [
        ([part(f'{DISPOSITION}"file"', b"speech.wav")], 400, "curl -F file=@NAME"),
        ([part(f'{DISPOSITION}"file"', b"https://a.example/b.wav")], 400, "no audio"),
        ([part("Content-Disposition: form-data", FLAC)], 400, "no name"),
        ([part("X: y", FLAC)], 400, "no name"),
        ([part(f'{DISPOSITION}"file"\r\nContent-Transfer-Encoding: base64', b"QUJD")], 400,
         "comes encoded"),
        ([part(f'{DISPOSITION}"file"; filename="a{n}"', FLAC) for n in range(5)], 400, "4 files"),
        ([part(f'{DISPOSITION}"prompt"', b"a" * (1 << 21))], 413, "'prompt'"),
        ([part(f'{DISPOSITION}"keywords[]"', b"a" * 999)] * 1101, 413, "larger than 1024 KiB"),
        ([part(f'{DISPOSITION}"keywords[]"', b"a")] * 1101, 400, "1100 parts"),
        ([part(f'{DISPOSITION}"file"\r\nX: {"a" * 9000}', FLAC)], 400, "eader"),
        ([b"rubbish" * 100], 400, "cannot be read"), ([], 400, "no file"),
    ],
)  # fmt: skip
def test_wrong_form_is_rejected_with_a_reason(quiet_server, parts, status, reason):
    answer = posted(quiet_server, *parts)
    assert raw.status(answer) == status, answer[-300:]
    assert reason in error_of(answer)["message"]


def test_a_form_that_is_cut_off_is_no_shorter_form(quiet_server):
    answer = posted(quiet_server, part(f'{DISPOSITION}"file"; filename="a"', FLAC), end=b"")
    assert raw.status(answer) == 400
    assert "last boundary" in error_of(answer)["message"]
    kind = "multipart/form-data"
    answer = posted(quiet_server, part(f'{DISPOSITION}"file"', FLAC), content_type=kind)
    assert "names no boundary" in error_of(answer)["message"]


# -- no room


def refused(answer: bytes) -> None:
    assert raw.status(answer) == 507, answer[-300:]
    assert error_of(answer)["code"] == "insufficient_storage"
    assert b"retry-after: 30" in answer


@contextlib.contextmanager
def at_rest(**options: str) -> Iterator[Server]:
    with running(**options) as server:
        yield server
        server.wait_for_rest()
        assert "Traceback" not in server.log, server.log


def check_full(server: Server, large: bytes, small: bytes = FLAC) -> None:
    """Large files are rejected on both protocols, small ones are not."""
    for _ in range(2):
        refused(posted(server, part(f'{DISPOSITION}"file"; filename="a.wav"', large)))
        refused(raw.answer(server.port, raw.request("POST", "/v1/listen", large)))
    answer = posted(server, part(f'{DISPOSITION}"file"; filename="a"', small))
    assert raw.status(answer) == 200, answer[-300:]


def test_a_disk_that_takes_no_more(long_wav, tmp_path):
    """Files of 512 kB are all that may be written: the system refuses the rest."""
    with at_rest(ulimit="-f 512", TMPDIR=str(tmp_path)) as server:
        check_full(server, long_wav)
        assert "no room for temporary files" in server.log
    assert [file for file in tmp_path.iterdir() if file.stat().st_size > 1000] == []


def test_a_folder_for_temporary_files_that_has_gone(long_wav, tmp_path):
    folder = tmp_path / "spool"
    folder.mkdir()
    with at_rest(TMPDIR=str(folder)) as server:
        shutil.rmtree(folder)
        check_full(server, long_wav)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one and a half megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root mounts a disk, where that is allowed")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_full(long_wav, tiny_disk):
    with at_rest(TMPDIR=str(tiny_disk)) as server:
        assert "lower limits.spool_bytes or set TMPDIR" in server.log
        check_full(server, long_wav)
        (tiny_disk / "fill").write_bytes(bytes(tiny_disk.stat().st_blksize * 300))
        check_full(server, long_wav)
        assert server.log.count("no room for temporary files") < 8


def test_a_small_file_whose_decoder_needs_a_disk(tmp_path):
    pytest.importorskip("av")
    folder = tmp_path / "spool"
    folder.mkdir()
    m4a = b"\0\0\0\x18ftypM4A " + bytes(100)
    with at_rest(TMPDIR=str(folder)) as server:
        form = part(f'{DISPOSITION}"file"; filename="a.m4a"', m4a)
        assert raw.status(posted(server, form)) == 400
        shutil.rmtree(folder)
        refused(posted(server, form))


def test_a_disk_that_can_only_be_read(long_wav, tiny_disk):
    with at_rest(TMPDIR=str(tiny_disk)) as server:
        subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
        check_full(server, long_wav)


def test_all_uploads_together_are_bounded(long_wav):
    """Uploads count while they are kept, and no longer."""
    limits = {"WHEATEAR_SERVE_LIMITS_SPOOL_BYTES": "3000000"}
    whole = part(f'{DISPOSITION}"file"; filename="a"', long_wav)

    def until(is_so) -> None:
        deadline = time.monotonic() + SECONDS
        while not is_so(server.metric("wheatear_upload_bytes")):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    with at_rest(**limits) as server:
        for _ in range(3):
            assert raw.status(answer := posted(server, whole)) == 200, answer[-300:]
            until(lambda kept: kept == 0)
        with connection(server.port) as slow:
            slow.sendall(upload(whole, content_length="2900000"))
            until(lambda kept: kept >= len(long_wav))
            check_full(server, long_wav)
        until(lambda kept: kept == 0)
        assert raw.status(posted(server, whole)) == 200


def test_a_file_larger_than_the_room_is_refused_before_it_comes():
    with at_rest(WHEATEAR_SERVE_LIMITS_SPOOL_BYTES="1000") as server:
        head = upload(b"", content_length="5000")
        refused(raw.answer(server.port, head))


# -- who sends slowly


def test_slow_uploads_hold_no_places(tmp_path):
    """Two keys with all the uploads that they may have, which bring nothing, and a third one."""
    file = tmp_path / "keys.toml"
    one, two, three = (make_key(file, name) for name in ("one", "two", "three"))
    with running("--api-key-file", str(file)) as server, contextlib.ExitStack() as held:
        server.key = three
        for key in (one, two):
            for _ in range(20):
                client = held.enter_context(connection(server.port))
                client.sendall(upload(b"--EDGE\r\n", content_length="100000", x_api_key=key))
        deadline = time.monotonic() + SECONDS
        whole = upload(raw.form([], [("file", FLAC)]), x_api_key=one)
        while raw.status(answer := raw.answer(server.port, whole)) != 429:
            assert time.monotonic() < deadline
        assert "16 uploads are open for one" in error_of(answer)["message"]
        good = upload(raw.form([], [("file", FLAC)]), x_api_key=three)
        assert raw.status(raw.answer(server.port, good)) == 200


def test_a_server_ends_a_body_that_comes_too_slowly():
    """At once here, as the idle time is shorter than the grace time."""
    limits = {"WHEATEAR_SERVE_LIMITS_IDLE_SECONDS": "1"}
    with running(**limits) as server, connection(server.port) as client:
        client.sendall(upload(b"--EDGE\r\n", content_length="100000"))
        assert raw.status(raw.everything(client)) == 408


def test_a_form_may_come_byte_by_byte(quiet_server):
    body = raw.form([("response_format", "json")], [("file", FLAC)])
    with connection(quiet_server.port) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = upload(b"", content_length=str(len(body)))
        client.sendall(head)
        for at in range(600):
            client.sendall(body[at : at + 1])
        client.sendall(body[600:])
        answer = raw.everything(client)
    assert "sorry" in json.loads(answer.partition(b"\r\n\r\n")[2])["text"]
