"""API keys: who may use a server, and how much.  Only hashes are at rest.

A key file is TOML, made by `wheatear key`:

    [[key]]
    name = "front desk"
    sha256 = "..."              # of the key, which nobody can find again
    streams = 4                 # what follows may be left out
    requests_per_minute = 60
    expires = 2027-01-31        # the last day on which it works, UTC
    scopes = ["transcribe"]     # and "secrets", "metrics"; all of them if left out

Keys are 256 random bits, so that a plain hash of one cannot be searched through.
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
_MOST_SECRETS = 1000  # of one client
SCOPES = ("transcribe", "secrets", "metrics")
"""The parts of a server that a key may open: files and streams, short-lived secrets, figures."""


class Client(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whose key it is, and what it may do; None is the server's own limit."""

    name: str
    sha256: str
    streams: int | None = None
    requests_per_minute: int | None = None
    expires: date | None = None
    """The last day on which the key works, UTC."""
    scopes: tuple[str, ...] | None = None

    @property
    def expired(self) -> bool:
        """True after the last day of the key."""
        return self.expires is not None and datetime.now(UTC).date() > self.expires

    def may(self, scope: str, by_secret: bool = False) -> bool:
        """True if the key, or a short-lived secret that it made, opens this part of a server."""
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
    """The keys of a server; none at all lets everybody in."""

    clients: tuple[Client, ...] = ()
    _issued: dict[str, dict[str, float]] = field(default_factory=dict)
    """Hash of a key -> hash of a short-lived secret that it made -> the end of that."""

    def replace(self, clients: tuple[Client, ...]) -> None:
        """Puts other keys in place of those that there are.  Secrets of keys that are gone end."""
        self.clients = clients
        kept = {client.sha256 for client in clients}
        for sha256 in self._issued.keys() - kept:
            del self._issued[sha256]

    def client(self, key: str) -> Client | None:
        """Whose key this is, in a time that does not depend on how much of it is right."""
        digest = _hash(key)
        found = None
        for client in self.clients:
            if hmac.compare_digest(client.sha256, digest):
                found = client
        if found is None and short_lived(key):
            now = time.time()
            for client in self.clients:
                if self._issued.get(client.sha256, {}).get(digest, 0.0) > now:
                    found = client
        return found

    def issue(self, client: Client, seconds: float) -> tuple[str, int]:
        """A secret that a browser may be given in place of the key, and when it ends.

        When a client has a great many of them, the oldest one ends.
        """
        now = time.time()
        issued = {
            h: until for h, until in self._issued.get(client.sha256, {}).items() if until > now
        }
        if len(issued) >= _MOST_SECRETS:
            issued.pop(next(iter(issued)))
        secret, until = _SHORT_LIVED + secrets.token_urlsafe(32), now + seconds
        issued[_hash(secret)] = until
        if client in self.clients:  # who needs no key needs no secret either
            self._issued[client.sha256] = issued
        return secret, int(until)


def short_lived(key: str) -> bool:
    """Whether this is such a secret, and no key."""
    return key.startswith(_SHORT_LIVED)


def read_keys(file: Path) -> Keyring:
    """Reads a key file.  Raises SettingsError, also for one without keys, and for one that
    anybody on the machine can put a key of their own into."""
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
        raise SettingsError(f"anybody may write keys into {file}: chmod o-w {file}")
    names = Counter(client.name for client in clients)
    if twice := next((name for name, count in names.items() if count > 1), None):
        raise SettingsError(f"{file} holds two keys named {twice!r}; name one of them otherwise")
    return tuple(clients)


def make_key(
    file: Path,
    name: str,
    streams: int | None = None,
    requests_per_minute: int | None = None,
    expires: date | None = None,
    scopes: tuple[str, ...] | None = None,
) -> str:
    """Adds a key to a file, readable by its owner alone, and returns it: this is the only time
    that anybody sees it.  Raises SettingsError."""
    known = _clients(file) if file.exists() else ()
    if any(client.name == name for client in known):
        raise SettingsError(f"{file} has a key named {name!r} already; choose another name")
    key = _PREFIX + secrets.token_urlsafe(32)
    lines = [
        "",  # the last line of a file that people have edited may have no end
        "[[key]]",
        f"name = {json.dumps(name, ensure_ascii=False)}",
        f'sha256 = "{_hash(key)}"',
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
        with os.fdopen(out, "w", encoding="utf-8") as lines_out:
            lines_out.write(text)
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot write {file}: {getattr(error, 'strerror', error)}") from error
    return key


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
