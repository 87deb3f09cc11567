"""A server as a process: it starts, says where it is, and goes down without dropping a word."""

import asyncio
import faulthandler
import json
import logging
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TextIO, cast

import msgspec
import uvicorn

from wheatear.errors import SettingsError
from wheatear.server.access.http_protocol import Config, DeadlineHttpProtocol
from wheatear.server.access.key_reload import KeyFile
from wheatear.server.access.listener import Acceptor
from wheatear.server.app import Service
from wheatear.server.file_descriptors import differences, fitted, raise_limit
from wheatear.server.protocols import wyoming_tcp
from wheatear.server.session.connection import FINISH_SECONDS
from wheatear.server.settings import Settings, passed_over
from wheatear.server.watchdog import notify, watch

_log = logging.getLogger(__name__)

_UNREAD_BYTES = 1 << 18  # that the system keeps of what a client has not read
_TURN = 0.0005  # seconds that a thread computes in Python while others wait, a tenth of the usual
_QUIET = {  # clients' bad manners are no news
    "websockets": "ERROR",
    "uvicorn.error": "ERROR",
    "python_multipart": "WARNING",
}
_EXTRAS = ("request_id", "seconds", "holder")


@contextmanager
def _logs_put_back() -> Iterator[None]:
    """Leaves logging as it was to a caller that goes on, whose standard error may be another."""
    loggers = [logging.getLogger(name) for name in (None, *_QUIET)]
    levels, handlers = [logger.level for logger in loggers], logging.getLogger().handlers
    try:
        yield
    finally:
        logging.getLogger().handlers = handlers
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@_logs_put_back()
def run(settings: Settings, say: Callable[[str], None]) -> None:
    """Serves until it is told to stop (SIGTERM, Ctrl-C).

    say: is told where the server is, once it takes requests.  Raises SettingsError if it can't
    listen there, and what loading the models raises.
    """
    log = _set_up_logs(settings)
    sys.setswitchinterval(_TURN)
    if settings.api_key_file and settings.wyoming_port is not None and not settings.wyoming_open:
        raise SettingsError(
            "Wyoming knows no keys: whoever reaches wyoming_port needs none. Set wyoming_open if "
            "that is meant, or leave wyoming_port out"
        )
    for line in passed_over(os.environ):
        _log.warning("%s", line)
    settings = _fitted(settings)
    _warn(settings)
    with ExitStack() as closing:
        listener = closing.enter_context(_listen(settings.host, settings.port))
        other = None
        if settings.wyoming_port is not None:
            other = closing.enter_context(_listen(settings.host, settings.wyoming_port))
        service = Service(settings)
        closing.callback(service.close)

        def started() -> None:
            say(f"http://{_address(listener)}")
            if other is not None:
                say(f"tcp://{_address(other)} (Wyoming)")
            _hush(log)

        _Server(_config(service, settings), service, started, other).run(sockets=[listener])


def _fitted(settings: Settings) -> Settings:
    """Settings whose limits are no larger than the system allows."""
    most, listeners = raise_limit(), 1 + (settings.wyoming_port is not None)
    limits = fitted(settings.limits, most, listeners)
    if limits == settings.limits:
        return settings
    _log.warning(
        "the system allows this process %d open files, so that limits are lower: %s; raise it "
        "(ulimit -n, LimitNOFILE) for more", most, differences(settings.limits, limits),
    )  # fmt: skip
    return msgspec.structs.replace(settings, limits=limits)


def _warn(settings: Settings) -> None:
    """Writes to the log what an operator may not have meant."""
    if settings.api_key_file is None and not settings.loopback:
        _log.warning(
            "every machine that reaches %s may use this server: it has no keys. Make one with "
            "'wheatear key NAME --file keys.toml' and give --api-key-file keys.toml, or leave "
            "--host out", settings.host or "it",
        )  # fmt: skip
    try:
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        _log.warning("large uploads will be refused, no temporary file can be made: %s", error)
        return
    if free < settings.limits.spool_bytes:
        _log.warning(
            "uploads may take %d MB of %s, which has %d MB left: lower limits.spool_bytes or set "
            "TMPDIR", settings.limits.spool_bytes >> 20, folder, free >> 20,
        )  # fmt: skip


def _config(service: Service, settings: Settings) -> Config:
    proxies = list(settings.trusted_proxies)
    return Config(
        service,
        settings.limits,
        settings.limits.connections,
        service.buffers,
        ws_max_size=settings.limits.message_bytes,
        ws_per_message_deflate=False,  # it costs more than PCM has to gain
        ws_ping_interval=20.0,
        ws_ping_timeout=20.0,  # half-open sockets are found out
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,
        backlog=128,  # connections that are taken at once
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
        access_log=False,
        log_config=None,
        server_header=False,
        lifespan="off",
    )


class _Server(uvicorn.Server):
    """Lets streams come to an end before it goes."""

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        on_start: Callable[[], None],
        wyoming: socket.socket | None,
    ) -> None:
        """wyoming: where that protocol is to be served, if it is."""
        super().__init__(config)
        self._service, self._on_start = service, on_start
        self._listener = wyoming
        self._acceptors: list[Acceptor] = []
        self._watching: asyncio.Task[None] | None = None
        self._seconds = service.settings.drain_seconds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])  # it has an acceptor instead
        if not self.started:
            return
        for listener in sockets or ():
            acceptor = Acceptor(listener, self._protocol, self._room)
            await acceptor.start()
            self._acceptors.append(acceptor)
        if self._listener is not None:
            self._acceptors.append(await wyoming_tcp.serve(self._service, self._listener))
        if (file := self._service.settings.api_key_file) is not None:
            keys = KeyFile(Path(file), self._service.keyring)
            self._watching = asyncio.create_task(keys.watch())
        self._on_start()
        seconds = self._service.settings.watchdog_seconds
        self._watchdog = asyncio.create_task(watch(self._service.is_well, seconds))

    def _protocol(self) -> asyncio.Protocol:
        return DeadlineHttpProtocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def _room(self) -> int:
        """Connections that may come; one that comes in place of one that waits is among them."""
        config = cast("Config", self.config)
        return max(config.most - len(self.server_state.connections), int(bool(config.waiting)))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for acceptor in self._acceptors:
            acceptor.close()
        if self._watching is not None:
            self._watching.cancel()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal lets nobody in and everybody finish; the second one ends it."""
        if self._service.draining.is_set():
            self.force_exit, self.should_exit = self.should_exit, True
        else:
            asyncio.get_running_loop().call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        held = self._service.concurrency.held
        logging.getLogger(__name__).info(
            "going down: %d streams and files have %g s to end in", held, self._seconds
        )
        notify("STOPPING=1")
        self._service.draining.set()
        self._draining = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        until = time.monotonic() + self._seconds + FINISH_SECONDS
        while self._service.concurrency.held and time.monotonic() < until:
            await asyncio.sleep(0.05)
        self.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD_BYTES)
        listener.listen(128)
        listener.set_inheritable(True)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"cannot listen on {host} port {port}: {error.strerror or error}"
        ) from error
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    here = ("127.0.0.1", "::1", "0.0.0.0", "::")  # the last two are every address  # noqa: S104
    host = "localhost" if host in here else host
    return f"{f'[{host}]' if ':' in host else host}:{port}"


# -- logs


class _JsonLines(logging.Formatter):
    """A line of JSON for each record."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), "level": record.levelname,
            "logger": record.name, "message": record.getMessage(),
            **{name: getattr(record, name) for name in _EXTRAS if hasattr(record, name)},
        }  # fmt: skip
        if record.exc_info:
            line["fault"] = self.formatException(record.exc_info)
        text = json.dumps(line, ensure_ascii=False)
        return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    """The escape that JSON has for a character, DEL included, which needs none there."""
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]


class _Text(logging.Formatter):
    """A line that people read."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """A line whatever there is in it: nobody else's words make a new one."""
        extras = (f"{name}={getattr(record, name)}" for name in _EXTRAS if hasattr(record, name))
        line = " ".join([super().formatMessage(record), *extras])
        return _printable(line)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """A traceback that takes several lines, none of which looks like a line of the log."""
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"    {_printable(line)}" for line in lines)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _set_up_logs(settings: Settings) -> logging.StreamHandler[TextIO]:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _JsonLines()
        if settings.log_format == "json"
        else _Text("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)
    return handler


def _hush(log: logging.StreamHandler[TextIO]) -> None:
    """Keeps C libraries out of the log: libmpg123 has a line for each damaged frame that anybody
    sends.  What ends the process is still told there."""
    out = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    log.setStream(out)
    sys.stderr = out
    faulthandler.enable(out)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
