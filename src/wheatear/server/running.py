"""A server as a process: it starts, says where it is, and goes down without dropping a word."""

import asyncio
import json
import logging
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from wheatear.errors import SettingsError
from wheatear.server.app import Service
from wheatear.server.settings import Settings
from wheatear.server.sockets import LAST_WORDS

_HEAD_SECONDS = 15.0  # that a request's head may take to come
_EXTRAS = ("request_id", "seconds", "holder")


def run(settings: Settings, say: Callable[[str], None]) -> None:
    """Serves until it is told to stop (SIGTERM, Ctrl-C).

    say: is told where the server is, once it takes requests.  Raises SettingsError if it can't
    listen there, and what loading the models raises.
    """
    _set_up_logs(settings)
    listener = _listen(settings)
    service = Service(settings)
    try:
        server = _Server(_config(service, settings), service, lambda: say(_address(listener)))
        server.run(sockets=[listener])
    finally:
        service.close()
        listener.close()


def _config(service: Service, settings: Settings) -> uvicorn.Config:
    proxies = list(settings.trusted_proxies)
    return uvicorn.Config(
        service,
        http=TimelyHttp,
        ws="websockets-sansio",
        ws_max_size=settings.limits.message_bytes,
        ws_per_message_deflate=False,  # it costs more than PCM has to gain
        ws_ping_interval=20.0,
        ws_ping_timeout=20.0,  # half-open sockets are found out
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,
        limit_concurrency=2 * settings.limits.streams + 1000,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
        access_log=False,
        log_config=None,
        server_header=False,
        lifespan="off",
    )


class _Server(uvicorn.Server):
    """Lets streams come to an end before it goes."""

    def __init__(self, config: uvicorn.Config, service: Service, on_start: Callable[[], None]):
        super().__init__(config)
        self._service, self._on_start = service, on_start
        self._seconds = service.settings.drain_seconds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal lets nobody in and everybody finish; the second one ends it."""
        if self._service.draining.is_set() or not self._service.slots.held:
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


class TimelyHttp(H11Protocol):
    """HTTP whose requests have to begin: who connects and says nothing is let go."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._timer = self.loop.call_later(_HEAD_SECONDS, self._let_go)

    def handle_events(self) -> None:
        super().handle_events()
        if self.cycle is not None:
            self._forget()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._forget()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _let_go(self) -> None:
        self.transport.close()


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(512)
        listener.set_inheritable(True)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror or error}"
        ) from error
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = "localhost" if host in ("127.0.0.1", "::1") else host
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


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

    def format(self, record: logging.LogRecord) -> str:
        extras = (f"{name}={getattr(record, name)}" for name in _EXTRAS if hasattr(record, name))
        return " ".join([super().format(record), *extras])


def _set_up_logs(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _JsonLines()
        if settings.log_format == "json"
        else _Text("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    logging.getLogger("websockets").setLevel("ERROR")  # clients' bad manners are no news
    logging.getLogger("uvicorn.error").setLevel("WARNING")
