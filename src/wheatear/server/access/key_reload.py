"""Reloads the key file of a running server when it changes, or at SIGHUP.

A server in the foreground of a terminal ends with it, so SIGHUP keeps its usual meaning there.
"""

import asyncio
import logging
import signal
import sys
from pathlib import Path

from wheatear.errors import SettingsError
from wheatear.server.access.keys import Keyring, read_keys

_log = logging.getLogger(__name__)

_INTERVAL = 2.0  # seconds between checks


class KeyFile:
    """Key file, and the keyring that follows it."""

    def __init__(self, file: Path, keyring: Keyring) -> None:
        self._file, self._keyring = file, keyring
        self._seen = self._state()

    async def watch(self) -> None:
        """Reloads the file after each change, until the task is canceled."""
        requested = asyncio.Event()
        if (
            hasattr(signal, "SIGHUP") and not sys.stderr.isatty()
        ):  # SIGHUP then means that the terminal closed
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, requested.set)
        while True:
            try:
                async with asyncio.timeout(_INTERVAL):
                    await requested.wait()
            except TimeoutError:
                pass
            force = requested.is_set()
            requested.clear()
            await self.reload(force)

    async def reload(self, force: bool = False) -> None:
        """Reads the file if it has changed; a wrong file changes no key.

        Args:
            force: True to read an unchanged file.
        """
        state = await asyncio.to_thread(self._state)
        if state == self._seen and not force:
            return
        self._seen = state
        try:
            clients = (await asyncio.to_thread(read_keys, self._file)).clients
        except SettingsError as error:
            _log.error("the keys stay as they were: %s", error)
            return
        changed = clients != self._keyring.clients
        self._keyring.replace(clients)
        if changed or force:
            _log.info("keys have been read again: %d are in force", len(clients))

    def _state(self) -> tuple[int, ...] | None:
        try:
            stat = self._file.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino
