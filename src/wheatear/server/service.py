"""State that all routes and protocols of a server share."""

import asyncio
from pathlib import Path

from wheatear.server.access.keys import Keyring, read_keys
from wheatear.server.access.limits import ConcurrencyLimits
from wheatear.server.access.message_buffers import Buffers
from wheatear.server.metrics import Metrics
from wheatear.server.served_models import ServedModels
from wheatear.server.settings import Settings

_MAX_STEP_SECONDS = 60.0
"""Time in one step after which the server is unhealthy."""


class Service:
    """Settings, models, keys, limits and metrics of a running server."""

    def __init__(self, settings: Settings) -> None:
        """Loads the models.

        Raises:
            SettingsError: If a setting or the key file does not work.
            WheatearError: Anything that `wheatear.load` raises.
        """
        self.settings = settings
        path = settings.api_key_file
        self.keyring = Keyring() if path is None else read_keys(Path(path))
        self.metrics = Metrics()
        self.concurrency = ConcurrencyLimits(settings.limits, self._has_several_clients)
        self.metrics.upload_bytes.set_function(lambda: self.concurrency.spool.taken)
        self.buffers = Buffers(settings.limits.buffer_bytes)
        self.models = ServedModels(settings, self.metrics)
        self.metrics.load.set_function(lambda: self.models.budget.load)
        self.draining = asyncio.Event()
        """Set when the server shuts down: it rejects new work and finishes what is running."""

    def close(self) -> None:
        """Ends all streams and files."""
        self.models.close()

    def is_healthy(self) -> bool:
        """True if every scheduler runs, and none has been in one step for long."""
        schedulers = [model.scheduler for model in self.models]
        return all(s.alive and s.stuck_s < _MAX_STEP_SECONDS for s in schedulers)

    def _has_several_clients(self) -> bool:
        clients, settings = len(self.keyring.clients), self.settings
        if not clients:
            return not settings.loopback
        return clients > 1 or settings.wyoming_port is not None
