"""API keys and the limits of their clients.  Only hashes are stored.

A key file is TOML, made by `wheatear key`:

    [[key]]
    name = "front desk"
    sha256 = "..."              # of the key, which is not stored
    streams = 4                 # this and the following are optional
    requests_per_minute = 60
    expires = 2027-01-31        # last valid day, UTC
    scopes = ["transcribe"]     # also "secrets", "metrics"; by default all

Keys have 256 random bits, so that a plain hash cannot be inverted by search.
"""

import hashlib
import hmac
import json
import os
import secrets
import stat
import time
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec

from wheatear.common.text_files import read_text
from wheatear.errors import SettingsError

_PREFIX, _SHORT_LIVED = "we_", "ek_"
_MAX_SECRETS = 1000  # of one client
SCOPES = ("transcribe", "secrets", "metrics")
"""Scopes of a key: files and streams, short-lived secrets, metrics."""


class Client(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Client with a key, and its limits; None is the limit of the server."""

    name: str
    sha256: str
    streams: int | None = None
    requests_per_minute: int | None = None
    expires: date | None = None
    """Last day on which the key works, UTC."""
    scopes: tuple[str, ...] | None = None

    @property
    def expired(self) -> bool:
        """True after the last day of the key."""
        return self.expires is not None and datetime.now(UTC).date() > self.expires

    def may(self, scope: str, by_secret: bool = False) -> bool:
        """True if the key, or a short-lived secret of it, has a scope."""
        needed = {"secrets"} if by_secret else {scope}
        return self.scopes is None or needed <= {*self.scopes}

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.name.isprintable():
            raise ValueError(f"the name {self.name!r} cannot be shown; use letters and digits")
        if len(self.sha256) != 64 or not set(self.sha256) <= set("0123456789abcdef"):
            raise ValueError(f"the sha256 of {self.name!r} is not 64 hexadecimal digits")
        for name in ("streams", "requests_per_minute"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} of {self.name!r} must be 1 or more")
        for scope in self.scopes or ():
            if scope not in SCOPES:
                known = ", ".join(SCOPES)
                raise ValueError(f"scope {scope!r} of {self.name!r} is none of {known}")
        if self.scopes == ():
            raise ValueError(f"the key of {self.name!r} has no scope; give one, or leave them out")


class _File(msgspec.Struct, forbid_unknown_fields=True):
    key: list[Client] = []


@dataclass
class Keyring:
    """Keys of a server; without any, no key is needed."""

    clients: tuple[Client, ...] = ()
    _issued: dict[str, dict[str, float]] = field(default_factory=dict)
    """End of each short-lived secret, by the hashes of the key that made it and of the secret."""

    def replace(self, clients: tuple[Client, ...]) -> None:
        """Replaces all keys.  Secrets of removed keys end."""
        self.clients = clients
        kept = {client.sha256 for client in clients}
        for sha256 in self._issued.keys() - kept:
            del self._issued[sha256]

    def client(self, key: str) -> Client | None:
        """Returns the client of a key or secret, in a time that does not depend on the key."""
        digest = hash_of(key)
        found = None
        for client in self.clients:
            if hmac.compare_digest(client.sha256, digest):
                found = client
        if found is None and is_short_lived(key):
            now = time.time()
            for client in self.clients:
                if self._issued.get(client.sha256, {}).get(digest, 0.0) > now:
                    found = client
        return found

    def issue(self, client: Client, seconds: float) -> tuple[str, int]:
        """Returns a secret that works in place of the key, and its end in seconds since 1970.

        A client has at most a thousand of them; a new one ends the oldest.
        """
        now = time.time()
        issued = {
            h: until for h, until in self._issued.get(client.sha256, {}).items() if until > now
        }
        if len(issued) >= _MAX_SECRETS:
            issued.pop(next(iter(issued)))
        secret, until = _SHORT_LIVED + secrets.token_urlsafe(32), now + seconds
        issued[hash_of(secret)] = until
        if client in self.clients:  # not for clients without a key
            self._issued[client.sha256] = issued
        return secret, int(until)


def is_short_lived(key: str) -> bool:
    """True if this is a short-lived secret, not a key."""
    return key.startswith(_SHORT_LIVED)


def read_keys(file: Path) -> Keyring:
    """Reads a key file.

    Raises:
        SettingsError: If the file is unreadable, wrong, without keys, or writable by all users.
    """
    clients = _clients(file)
    if not clients:
        raise SettingsError(f"{file} holds no key; 'wheatear key NAME --file {file}' makes one")
    return Keyring(clients)


def _clients(file: Path) -> tuple[Client, ...]:
    try:
        writable = file.stat().st_mode & stat.S_IWOTH
        data = tomllib.loads(read_text(file))
        clients = msgspec.convert(data, _File).key
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(f"cannot read the keys of {file}: {reason}") from error
    if writable and os.name == "posix":
        raise SettingsError(f"all users may write keys into {file}: chmod o-w {file}")
    names = Counter(client.name for client in clients)
    if twice := next((name for name, count in names.items() if count > 1), None):
        raise SettingsError(f"{file} holds two keys named {twice!r}; rename one of them")
    return tuple(clients)


def make_key(
    file: Path,
    name: str,
    streams: int | None = None,
    requests_per_minute: int | None = None,
    expires: date | None = None,
    scopes: tuple[str, ...] | None = None,
) -> str:
    """Adds a new key to a file that only its owner can read, and returns the key.

    Args:
        file: Path of the key file, made if it does not exist.
        name: Name of the client.
        streams: Maximum number of its streams and files.
        requests_per_minute: Maximum number of its requests.
        expires: Last day on which the key works, UTC.
        scopes: Scopes of the key; None for all.

    Raises:
        SettingsError: If the name is taken or the file cannot be written.
    """
    known = _clients(file) if file.exists() else ()
    if any(client.name == name for client in known):
        raise SettingsError(f"{file} has a key named {name!r} already; choose another name")
    key = _PREFIX + secrets.token_urlsafe(32)
    lines = [
        "",  # the last line of an edited file may have no end
        "[[key]]",
        f"name = {json.dumps(name, ensure_ascii=False)}",
        f'sha256 = "{hash_of(key)}"',
    ]
    if streams is not None:
        lines.append(f"streams = {streams}")
    if requests_per_minute is not None:
        lines.append(f"requests_per_minute = {requests_per_minute}")
    if expires is not None:
        lines.append(f"expires = {expires.isoformat()}")
    if scopes is not None:
        lines.append(f"scopes = {json.dumps(scopes)}")
    text = "\n".join(lines) + "\n"
    try:
        msgspec.convert(tomllib.loads(text), _File)
        out = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(out, "w", encoding="utf-8") as stream:
            stream.write(text)
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot write {file}: {getattr(error, 'strerror', error)}") from error
    return key


def hash_of(key: str) -> str:
    """Returns the hash by which a key or secret is stored."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
