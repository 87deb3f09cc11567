"""API keys and short-lived secrets: what is at rest, what is compared, what is refused."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wheatear.errors import SettingsError
from wheatear.server.access import keys
from wheatear.server.access.keys import Client, Keyring, hash_of, make_key, read_keys

UNKNOWN = "we_" + "A" * 43


def test_every_key_is_compared_in_full(monkeypatch):
    """The time depends neither on the place of a key nor on its correct part."""
    known = [f"we_{n:043}" for n in range(20)]
    holders = [Client(name=f"h{n}", sha256=hash_of(k)) for n, k in enumerate(known)]
    ring = Keyring(tuple(holders))
    compared = []

    def compare(a: str, b: str) -> bool:
        compared.append((len(a), len(b)))
        return a == b

    monkeypatch.setattr(keys.hmac, "compare_digest", compare)
    for key in (known[0], known[-1], UNKNOWN, "", known[3][:-1]):
        compared.clear()
        ring.client(key)
        assert compared == [(64, 64)] * 20


def test_key_file_holds_a_hash_and_is_private(tmp_path):
    file = tmp_path / "keys.toml"
    key = make_key(file, 'a "quoted" näme', streams=3, requests_per_minute=7)
    assert key not in file.read_text()
    assert key.removeprefix("we_")[:20] not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    (holder,) = read_keys(file).clients
    assert (holder.name, holder.streams, holder.requests_per_minute) == ('a "quoted" näme', 3, 7)
    assert read_keys(file).client(key) == holder


def test_a_key_can_be_added_to_a_file_that_was_edited(tmp_path):
    file = tmp_path / "keys.toml"
    first = make_key(file, "first")
    file.write_text(file.read_text().rstrip())  # as editors leave it
    second = make_key(file, "second")
    ring = read_keys(file)
    assert [ring.client(key).name for key in (first, second)] == ["first", "second"]
    with pytest.raises(SettingsError, match="already"):
        make_key(file, "second")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no key"), ("key = []", "holds no key"), ("[[key]", "cannot read"),
        ('[[key]]\nname = "a"', "sha256"), ('[[key]]\nname = "a"\nsha256 = "abc"', "64 hexa"),
        (f'[[key]]\nname = "a"\nsha256 = "{"A" * 64}"', "64 hexa"),
        (f'[[key]]\nname = "a"\nsha256 = "{"a" * 64}"\nstream = 1', "stream"),
        (f'[[key]]\nname = "a"\nsha256 = "{"a" * 64}"\nstreams = 0', "1 or more"),
        (f'[[key]]\nname = "a"\nsha256 = "{"a" * 64}"\nstreams = true', "int"),
        (f'[[key]]\nname = ""\nsha256 = "{"a" * 64}"', "cannot be shown"),
        (f'[[key]]\nname = "a\\nb"\nsha256 = "{"a" * 64}"', "cannot be shown"),
        (2 * f'[[key]]\nname = "a"\nsha256 = "{"a" * 64}"\n', "two keys named 'a'"),
        ("\xff\xfe", "cannot read"), ("keys = 5", "keys"),
    ],
)  # fmt: skip
def test_wrong_key_file_is_rejected(tmp_path, text, reason):
    file = tmp_path / "keys.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match=reason):
        read_keys(file)


def test_a_key_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="No such file"):
        read_keys(tmp_path / "nothing.toml")
    with pytest.raises(SettingsError, match="directory"):
        read_keys(tmp_path)
    with pytest.raises(SettingsError, match="cannot write"):
        make_key(tmp_path / "nowhere" / "keys.toml", "a")


@pytest.mark.skipif(os.name != "posix", reason="other systems have other permissions")
def test_a_key_file_that_anybody_may_write_is_refused(tmp_path):
    file = tmp_path / "keys.toml"
    make_key(file, "a")
    file.chmod(0o646)
    with pytest.raises(SettingsError, match="chmod o-w"):
        read_keys(file)


def test_short_lived_secrets_end_and_are_of_their_holder(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(keys.time, "time", lambda: now)
    holder = Client(name="a", sha256="a" * 64)
    ring = Keyring((holder, Client(name="b", sha256="b" * 64)))
    secret, until = ring.issue(holder, 60)
    assert (until, ring.client(secret)) == (1060, holder)
    assert ring.client(secret + "x") is None
    now = 1060.0
    assert ring.client(secret) is None
    many = [ring.issue(holder, 60)[0] for _ in range(1001)]
    assert ring.client(many[0]) is None  # the oldest of too many
    assert ring.client(many[-1]) == holder
    assert all(ring.client(secret) == holder for secret in many[1:])
    assert not any(s in repr(ring) for s in many)


def test_a_file_that_is_there_and_empty_takes_a_key(tmp_path):
    file = tmp_path / "keys.toml"
    file.touch(0o600)
    make_key(file, "first")
    assert [holder.name for holder in read_keys(file).clients] == ["first"]


def test_command_reports_an_error_in_one_line(tmp_path):
    file = tmp_path / "keys.toml"
    file.write_text("[[key]]")
    command = [sys.executable, "-m", "wheatear", "serve", "--port", "0", "--api-key-file", file]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert str(file) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("expires = 5", "expires"), ('expires = "soon"', "expires"), ("scopes = []", "no scope"),
        ('scopes = ["all"]', "transcribe, secrets, metrics"), ('scopes = "metrics"', "scopes"),
    ],
)  # fmt: skip
def test_wrong_expiry_or_scope_is_rejected(tmp_path, line, reason):
    file = tmp_path / "keys.toml"
    file.write_text(f'[[key]]\nname = "a"\nsha256 = "{"a" * 64}"\n{line}')
    with pytest.raises(SettingsError, match=reason):
        read_keys(file)


def test_scopes_open_what_they_name():
    holder = Client(name="a", sha256="a" * 64, scopes=("secrets",))
    assert [holder.may(scope) for scope in keys.SCOPES] == [False, True, False]
    assert holder.may("transcribe", by_secret=True)
    assert not Client(name="a", sha256="a" * 64, scopes=("transcribe",)).may("transcribe", True)
    assert all(Client(name="a", sha256="a" * 64).may(scope) for scope in keys.SCOPES)


@given(st.binary(max_size=300))
def test_any_key_file_is_read_or_rejected(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "any-keys.toml"
    file.write_bytes(content)
    message = None
    try:
        clients = read_keys(file).clients
    except SettingsError as error:
        message = str(error)
    assert clients if message is None else str(file) in message


@given(st.text(max_size=40), st.none() | st.integers(), st.none() | st.integers())
def test_key_with_any_name_is_made_and_found_or_rejected(tmp_path_factory, name, streams, rate):
    file = tmp_path_factory.getbasetemp() / "made-keys.toml"
    file.unlink(missing_ok=True)
    try:
        key = make_key(file, name, streams, rate)
    except SettingsError:
        assert not file.exists() or not file.read_text()
        return
    client = read_keys(file).client(key)
    assert client is not None
    assert (client.name, client.streams, client.requests_per_minute) == (name, streams, rate)
