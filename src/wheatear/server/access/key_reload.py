"""The key file of a running server: read again when it changes, or at SIGHUP.

A server in the foreground of a terminal ends with it: there SIGHUP keeps its usual meaning.
"""

import asyncio
import logging
import signal
import sys
from pathlib import Path

from wheatear.errors import SettingsError
from wheatear.server.access.keys import Keyring, read_keys

_log = logging.getLogger(__name__)

_EVERY = 2.0  # seconds between looks


class KeyFile:
    """A key file beside the keys that are in force."""

    def __init__(self, file: Path, keyring: Keyring) -> None:
        self._file, self._keyring = file, keyring
        self._seen = self._state()

    async def watch(self) -> None:
        """Takes over what changes, as long as it is not canceled."""
        asked = asyncio.Event()
        if hasattr(signal, "SIGHUP") and not sys.stderr.isatty():  # else a terminal is closed
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
        while True:
            try:
                async with asyncio.timeout(_EVERY):
                    await asked.wait()
            except TimeoutError:
                pass
            now = asked.is_set()
            asked.clear()
            await self.look(now)

    async def look(self, now: bool = False) -> None:
        """Reads the file if it has changed, or in any case.  What is wrong with it changes no key.

        now: True if it is to be read without having changed.
        """
        state = await asyncio.to_thread(self._state)
        if state == self._seen and not now:
            return
        self._seen = state
        try:
            clients = (await asyncio.to_thread(read_keys, self._file)).clients
        except SettingsError as error:
            _log.error("the keys stay as they were: %s", error)
            return
        changed = clients != self._keyring.clients
        self._keyring.replace(clients)
        if changed or now:
            _log.info("keys have been read again: %d are in force", len(clients))

    def _state(self) -> tuple[int, ...] | None:
        try:
            stat = self._file.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino
