"""A server as a process: it starts, says where it is, and goes down without dropping a word."""

import asyncio
import faulthandler
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TextIO

import uvicorn

from wheatear.errors import SettingsError
from wheatear.server import wyoming
from wheatear.server.app import Service
from wheatear.server.connections import Config
from wheatear.server.settings import Settings
from wheatear.server.sockets import LAST_WORDS

_UNREAD_BYTES = 1 << 18  # that the system keeps of what a client has not read
_TURN = 0.0005  # seconds that a thread computes in Python while others wait, a tenth of the usual
_SPARE_FILES = 200  # that the models, uploads and the log need
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


def _config(service: Service, settings: Settings) -> Config:
    proxies = list(settings.trusted_proxies)
    return Config(
        service,
        settings.limits,
        min(settings.limits.connections, _most_files() - _SPARE_FILES),
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


def _most_files() -> int:
    """Files and connections that the process may have open, raised to what the system allows."""
    try:
        import resource  # noqa: PLC0415  (Windows has none)
    except ImportError:
        return 2048
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return max(2 * _SPARE_FILES, soft)


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
        self._wyoming: asyncio.Server | None = None
        self._seconds = service.settings.drain_seconds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            if self._listener is not None:
                self._wyoming = await wyoming.serve(self._service, self._listener)
            self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._wyoming is not None:
            self._wyoming.close()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal lets nobody in and everybody finish; the second one ends it."""
        if self._service.draining.is_set():
            self.force_exit, self.should_exit = self.should_exit, True
        else:
            asyncio.get_running_loop().call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        held = self._service.slots.held
        logging.getLogger(__name__).info(
            "going down: %d streams and files have %g s to end in", held, self._seconds
        )
        self._service.draining.set()
        self._draining = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        until = time.monotonic() + self._seconds + LAST_WORDS
        while self._service.slots.held and time.monotonic() < until:
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
    host = "localhost" if host in ("127.0.0.1", "::1") else host
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
        return json.dumps(line, ensure_ascii=False)


class _Text(logging.Formatter):
    """A line that people read."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """A line whatever there is in it: nobody else's words make a new one."""
        extras = (f"{name}={getattr(record, name)}" for name in _EXTRAS if hasattr(record, name))
        line = " ".join([super().formatMessage(record), *extras])
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


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
