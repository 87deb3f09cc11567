"""Settings of a server: a TOML file, then the environment, then flags.

Every name can be given in each of the three: `host` in the file, WHEATEAR_SERVE_HOST in the
environment, `[limits] streams` as WHEATEAR_SERVE_LIMITS_STREAMS.  An unknown name is rejected, so
that a misspelled setting is not silently ignored.  Variables that Kubernetes and Docker set for a
service with a similar name are ignored, with a warning.
"""

import difflib
import functools
import ipaddress
import math
import re
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from wheatear.common.text_files import read_text
from wheatear.errors import SettingsError

PREFIX = "WHEATEAR_SERVE_"
_ADDRESS_OF_SERVICE = re.compile(r"(tcp|udp|sctp)://\S*", re.IGNORECASE)
_OF_SERVICE = re.compile(
    r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
"""Variables that Kubernetes and Docker set for a service, without the prefix."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_HOST = re.compile(r"[a-z0-9_.-]+|[0-9a-f:.]+")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\sA-Z]+")


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Limits of a server.  A client is a key, or without keys an address."""

    upload_bytes: int = 1 << 29
    """Maximum size of one file, in bytes."""
    upload_bytes_per_second: float = 500.0
    """Minimum average rate of a request, after its first twenty seconds."""
    uploads: int = 64
    """Maximum number of files that are being received."""
    uploads_per_key: int = 16
    """The same for one client."""
    spool_bytes: int = 1 << 30
    """Maximum size of all uploads in memory and on disk (TMPDIR), in bytes."""
    file_seconds: float = 4 * 3600.0
    """Maximum duration of one file, in seconds of audio."""
    files: int = 16
    """Maximum number of files that are being transcribed."""
    streams: int = 200
    """Maximum number of live sockets."""
    streams_per_key: int = 200
    """Maximum number of live sockets and files of one client."""
    requests_per_minute: int = 1200
    """Maximum number of requests of one client; a socket counts once."""
    phrases: int = 1000
    """Maximum number of phrases of one stream or file."""
    session_seconds: float = 4 * 3600.0
    """Maximum duration of a live socket, and of its audio, in seconds."""
    idle_seconds: float = 60.0
    """Maximum time without data from the client, in seconds."""
    buffer_bytes: int = 256 << 20
    """Maximum size of messages and unread answers of all connections, in bytes."""
    backlog_seconds: float = 20.0
    """Maximum duration of untranscribed audio of a socket; beyond it the socket is not read."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"limits.{name} must be a number above 0")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings of a server."""

    host: str = "127.0.0.1"
    port: int = 8000
    """TCP port; 0 takes any free one."""
    models: tuple[str, ...] = ()
    """Bundles by path or name, or NAME=PATH to serve one by another name; the first is the
    default.  Without any, the bundled model is served."""
    threads: int | None = None
    """Number of threads of each model; None chooses it."""
    latency_ms: int | None = None
    """Default latency of live streams; None is the default of the model."""
    file_latency_ms: int | None = None
    """Default latency of files; None is the longest of the model."""
    api_key_file: str | None = None
    """Path of the key file; without one, no key is needed."""
    wyoming_port: int | None = None
    """Port of the Wyoming protocol; it knows no keys, so with keys `wyoming_open` is needed."""
    wyoming_open: bool = False
    page: bool = True
    """True if the page is served at /."""
    cors_origins: tuple[str, ...] = ()
    """Other origins whose pages may use the server, or "*"."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names that the server answers to.  Without any: loopback names if it listens there, all
    names if there are keys, else addresses, loopback names and the name of this machine."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses whose X-Forwarded headers are used."""
    load: float = 0.85
    """Share of the time that live streams may need before more are refused."""
    drain_seconds: float = 30.0
    """Seconds after SIGTERM in which streams may continue, before they are finished."""
    watchdog_seconds: float = 0.0
    """Seconds without a sign of life after which the process ends itself; 0 for never."""
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_transcripts: bool = False
    """True if transcripts are written to the log."""
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if not 0 <= self.port < 1 << 16:
            raise ValueError(f"port is {self.port}; give 0 to 65535")
        if not 0 <= (self.wyoming_port or 0) < 1 << 16:
            raise ValueError(f"wyoming_port is {self.wyoming_port}; give 0 to 65535")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads is {self.threads}; give 1 or more")
        if not 0 < self.load < math.inf or not 0 <= self.drain_seconds < math.inf:
            raise ValueError("load must be a number above 0 and drain_seconds not below")
        if not 0 <= self.watchdog_seconds <= 86400:
            raise ValueError("watchdog_seconds must be from 0 (never) to 86400")
        _check_names(self.allowed_hosts, _HOST, "allowed_hosts", "'asr.example.org', no port")
        _check_names(self.cors_origins, _ORIGIN, "cors_origins", "'https://example.org' or '*'")
        for proxy in self.trusted_proxies:
            _check_proxy(proxy)

    @property
    def loopback(self) -> bool:
        """True if only this machine can reach the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host in _LOOPBACK

    def answers_to(self, name: str) -> bool:
        """True if a request may call the server by this name, in lower case.

        A page of another site whose name resolves to this server (DNS rebinding) sends that name.
        Its requests have no key, so with keys any name is accepted.
        """
        if self.allowed_hosts:
            return name in self.allowed_hosts
        if self.loopback:
            return name in (*_LOOPBACK, self.host)
        if self.api_key_file is not None:
            return True
        return _is_address(name) or name in _own_names() or name.endswith(".localhost")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@functools.cache
def _own_names() -> frozenset[str]:
    """Returns the names of this machine that need no look-up."""
    full = socket.gethostname().lower()
    first = full.partition(".")[0]
    return frozenset({"localhost", full, first, f"{first}.local"})


def _check_names(names: tuple[str, ...], form: re.Pattern[str], setting: str, such: str) -> None:
    """Raises ValueError for names that can never match."""
    for name in names:
        if not form.fullmatch(name) and (name, setting) != ("*", "cors_origins"):
            raise ValueError(
                f"{setting} has {name!r}; write it as browsers do, in lower case: {such}"
            )


def _check_proxy(address: str) -> None:
    """Raises ValueError for text that is not an address or network."""
    try:
        ipaddress.ip_network(address)
    except ValueError as error:
        raise ValueError(f"trusted_proxies: {error}; give addresses or networks") from error


def read_settings(
    file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]
) -> Settings:
    """Returns the settings of a server.

    Args:
        file: Path of a TOML file, or None.
        environment: Environment variables, such as `os.environ`.
        flags: Values by the name of the setting; None has no effect.

    Raises:
        SettingsError: If a name is unknown or a value does not work; it names the place.
    """
    data: dict[str, Any] = {}
    if file is not None:
        try:
            data = tomllib.loads(read_text(file))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SettingsError(f"cannot read {file}: {reason}") from error
        _converted(data, str(file))
    for name, value in environment.items():
        if name.startswith(PREFIX) and not _is_of_service(name, value):
            _put(data, name, value)
        elif _is_slip(name) and not _is_of_service(name, value):
            raise SettingsError(_unknown(name))
    data |= {name: value for name, value in flags.items() if value is not None}
    return _converted(data, "the settings")


def ignored_variables(environment: Mapping[str, str]) -> list[str]:
    """Returns a line for each kind of variable that looks like a setting and is none."""
    lines = []
    if services := sorted(
        name
        for name, value in environment.items()
        if name.startswith(PREFIX) and _is_of_service(name, value)
    ):
        lines.append(
            f"ignored {', '.join(services[:3])}{', ...' * (len(services) > 3)}: Kubernetes or "
            f"Docker describes a service there; the pod's enableServiceLinks: false ends that"
        )
    known = _names()
    lines += [
        f"ignored {name}, which is no setting; {PREFIX}{name.removeprefix('WHEATEAR_')} is one"
        for name, value in sorted(environment.items())
        if name.startswith("WHEATEAR_")
        and PREFIX + name.removeprefix("WHEATEAR_") in known
        and not _ADDRESS_OF_SERVICE.fullmatch(value)
        and name != "WHEATEAR_MODELS"  # where bundles are
    ]
    return lines


def _is_of_service(name: str, value: str) -> bool:
    """True if a variable describes a service of the cluster and not a setting."""
    if _OF_SERVICE.fullmatch(name.removeprefix(PREFIX[:-1]).lstrip("_")):
        return True
    return name.endswith("PORT") and _ADDRESS_OF_SERVICE.fullmatch(value) is not None


def _is_slip(name: str) -> bool:
    """True if a variable nearly has the name of a setting."""
    outside = name.startswith("WHEATEAR_") and not name.startswith(PREFIX)
    return outside and bool(difflib.get_close_matches(name.upper(), _names(), 1, 0.93))


def _names() -> list[str]:
    """Returns all environment variables that are settings."""
    plain = [PREFIX + name.upper() for name in Settings.__struct_fields__ if name != "limits"]
    return plain + [f"{PREFIX}LIMITS_{name.upper()}" for name in Limits.__struct_fields__]


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name.upper(), _names(), 1, 0.8)
    advice = f"did you mean {near[0]}?" if near else "unset it"
    return f"the environment has {name}, which is no setting; {advice}"


def _put(data: dict[str, Any], name: str, value: str) -> None:
    """Stores an environment variable; lists are divided by commas."""
    field = name.removeprefix(PREFIX).lower()
    place, struct = data, Settings
    if field.startswith("limits_"):
        place, struct = data.setdefault("limits", {}), Limits
        field = field.removeprefix("limits_")
    types = {f.name: f.type for f in msgspec.structs.fields(struct)}
    if field not in types or field == "limits":
        raise SettingsError(_unknown(name))
    listed = types[field] == tuple[str, ...]
    place[field] = [part.strip() for part in value.split(",") if part.strip()] if listed else value
    _converted(data, name, strict=False)


def _converted(data: dict[str, Any], where: str, strict: bool = False) -> Settings:
    try:
        return msgspec.convert(data, Settings, strict=strict)
    except (msgspec.ValidationError, ValueError) as error:
        raise SettingsError(f"{where}: {error}{_nearest(str(error))}") from error


def _nearest(message: str) -> str:
    """Returns advice with the setting that is closest to an unknown one."""
    unknown = re.search(r"unknown field `(.+?)`", message)
    fields = Limits.__struct_fields__ if "$.limits" in message else Settings.__struct_fields__
    near = difflib.get_close_matches(unknown[1].lower(), fields, 1) if unknown else []
    return f"; did you mean {near[0]}?" if near else ""
