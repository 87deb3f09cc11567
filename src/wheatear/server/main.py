"""Server process: starts, announces its addresses, serves, and drains streams at shutdown."""

import asyncio
import logging
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import msgspec
import uvicorn

from wheatear.errors import SettingsError
from wheatear.server.access.http_protocol import DeadlineHttpProtocol
from wheatear.server.access.key_reload import KeyFile
from wheatear.server.access.listener import Acceptor
from wheatear.server.access.slow_clients import CONNECTIONS, ServerConfig
from wheatear.server.access.websocket_protocol import MESSAGE_BYTES, PacedWebSocketProtocol
from wheatear.server.app import create_app
from wheatear.server.file_descriptors import changes, fit_limits, raise_limit
from wheatear.server.logs import logging_restored, set_up_logging, silence_c_libraries
from wheatear.server.protocols import wyoming_tcp
from wheatear.server.service import Service
from wheatear.server.session.connection import FINISH_SECONDS
from wheatear.server.settings import Settings, ignored_variables
from wheatear.server.watchdog import notify, watch

_log = logging.getLogger(__name__)

_SEND_BUFFER_BYTES = 1 << 18  # unread by a client, in the system
_SWITCH_INTERVAL = 0.0005  # seconds of Python code between switches of threads, a tenth of usual


@logging_restored()
def run(settings: Settings, on_address: Callable[[str], None]) -> None:
    """Serves until SIGTERM or Ctrl-C.

    Args:
        settings: Settings of the server.
        on_address: Called with each address once the server listens there.

    Raises:
        SettingsError: If the server cannot listen at its address.
        WheatearError: Anything that loading the models raises.
    """
    log = set_up_logging(settings.log_format, settings.log_level)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    if settings.api_key_file and settings.wyoming_port is not None and not settings.wyoming_open:
        raise SettingsError(
            "Wyoming has no keys: clients that reach wyoming_port need none. Set wyoming_open if "
            "that is intended, or leave wyoming_port out"
        )
    for line in ignored_variables(os.environ):
        _log.warning("%s", line)
    settings, connections = _fitted(settings)
    _warn(settings)
    with ExitStack() as closing:
        listener = closing.enter_context(_listen(settings.host, settings.port))
        other = None
        if settings.wyoming_port is not None:
            other = closing.enter_context(_listen(settings.host, settings.wyoming_port))
        service = Service(settings)
        closing.callback(service.close)

        def on_start() -> None:
            on_address(f"http://{_address(listener)}")
            if other is not None:
                on_address(f"tcp://{_address(other)} (Wyoming)")
            silence_c_libraries(log)

        _Server(_config(service, connections), service, on_start, other).run(sockets=[listener])


def _fitted(settings: Settings) -> tuple[Settings, int]:
    """Returns settings, and a number of connections, that the system has open files for."""
    max_files, listeners = raise_limit(), 1 + (settings.wyoming_port is not None)
    limits, connections = fit_limits(settings.limits, CONNECTIONS, max_files, listeners)
    if connections == CONNECTIONS:
        return settings, connections
    lowered = [f"connections {CONNECTIONS} -> {connections}", *changes(settings.limits, limits)]
    _log.warning(
        "the system allows this process %d open files, so that limits are lower: %s; raise it "
        "(ulimit -n, LimitNOFILE) for more", max_files, ", ".join(lowered),
    )  # fmt: skip
    return msgspec.structs.replace(settings, limits=limits), connections


def _warn(settings: Settings) -> None:
    """Logs warnings about settings that may not be intended."""
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
        _log.warning("large uploads will be rejected, no temporary file can be made: %s", error)
        return
    if free < settings.limits.spool_bytes:
        _log.warning(
            "uploads may take %d MB of %s, which has %d MB left: lower limits.spool_bytes or set "
            "TMPDIR", settings.limits.spool_bytes >> 20, folder, free >> 20,
        )  # fmt: skip


def _config(service: Service, connections: int) -> ServerConfig:
    proxies = list(service.settings.trusted_proxies)
    return ServerConfig(
        create_app(service),
        service.buffers,
        max_connections=connections,
        http=DeadlineHttpProtocol,
        ws=PacedWebSocketProtocol,
        ws_max_size=MESSAGE_BYTES,
        ws_per_message_deflate=False,  # costs more than it saves on PCM
        ws_ping_interval=20.0,
        ws_ping_timeout=20.0,  # finds half-open connections
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,
        backlog=128,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
        access_log=False,
        log_config=None,
        server_header=False,
        lifespan="off",
    )


class _Server(uvicorn.Server):
    """uvicorn's server, with other acceptors and a shutdown that waits for streams."""

    def __init__(
        self,
        config: ServerConfig,
        service: Service,
        on_start: Callable[[], None],
        wyoming_listener: socket.socket | None,
    ) -> None:
        super().__init__(config)
        self._settings, self._service, self._on_start = config, service, on_start
        self._wyoming_listener = wyoming_listener
        self._acceptors: list[Acceptor] = []
        self._key_watch: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])  # acceptors take its place
        if not self.started:
            return
        for listener in sockets or ():
            acceptor = Acceptor(listener, self._new_protocol, self._free_connections)
            await acceptor.start()
            self._acceptors.append(acceptor)
        if self._wyoming_listener is not None:
            most = self._settings.max_connections
            acceptor = await wyoming_tcp.serve(self._service, self._wyoming_listener, most)
            self._acceptors.append(acceptor)
        if (file := self._service.settings.api_key_file) is not None:
            keys = KeyFile(Path(file), self._service.keyring)
            self._key_watch = asyncio.create_task(keys.watch())
        self._on_start()
        seconds = self._service.settings.watchdog_seconds
        self._tasks.append(asyncio.create_task(watch(self._service.is_healthy, seconds)))

    def _new_protocol(self) -> asyncio.Protocol:
        return DeadlineHttpProtocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def _free_connections(self) -> int:
        """Returns the number of connections to accept; a new one may replace a waiting one."""
        free = self._settings.max_connections - len(self.server_state.connections)
        return max(free, int(bool(self._settings.waiting)))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for acceptor in self._acceptors:
            acceptor.close()
        if self._key_watch is not None:
            self._key_watch.cancel()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Starts draining at the first signal, and ends the process at the second one."""
        if self._service.draining.is_set():
            self.force_exit, self.should_exit = self.should_exit, True
        else:
            asyncio.get_running_loop().call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        _log.info(
            "shutting down: %d streams and files have %g s to finish",
            self._service.concurrency.held, self._service.settings.drain_seconds,
        )  # fmt: skip
        notify("STOPPING=1")
        self._service.draining.set()
        self._tasks.append(asyncio.create_task(self._exit_when_drained()))

    async def _exit_when_drained(self) -> None:
        deadline = time.monotonic() + self._service.settings.drain_seconds + FINISH_SECONDS
        while self._service.concurrency.held and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        self.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
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
    local = ("127.0.0.1", "::1", "0.0.0.0", "::")  # the last two are all addresses  # noqa: S104
    host = "localhost" if host in local else host
    return f"{f'[{host}]' if ':' in host else host}:{port}"
