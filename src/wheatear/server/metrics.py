"""Metrics of the server, in the text format of Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from wheatear.server.scheduler.scheduler import Observer

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.56, 1.12, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Metrics of one server; safe to use from any thread."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "wheatear_requests", "HTTP requests and socket openings.",
            ["method", "route", "status"], registry=registry,
        )  # fmt: skip
        self.request_seconds = Histogram(
            "wheatear_request_seconds", "Time until a response was complete.",
            ["route"], buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.sockets = Gauge(
            "wheatear_sockets", "Live sockets that are open.", ["wire"], registry=registry
        )
        self.files = Gauge("wheatear_files", "Files being transcribed.", registry=registry)
        self.upload_bytes = Gauge(
            "wheatear_upload_bytes", "Bytes of uploads in memory and on disk.", registry=registry
        )
        self.refused = Counter(
            "wheatear_refused",
            "Rejected requests and streams, by reason.",
            ["reason"],
            registry=registry,
        )
        self.errors = Counter(
            "wheatear_errors", "Internal errors of the server.", ["where"], registry=registry
        )
        self.audio_seconds = Counter(
            "wheatear_audio_seconds", "Received audio.", ["wire"], registry=registry
        )
        self.tokens = Counter("wheatear_tokens", "Emitted tokens.", ["wire"], registry=registry)
        self.turns = Counter("wheatear_turns", "Turns that ended.", ["wire"], registry=registry)
        self.streams = Gauge(
            "wheatear_streams", "Live streams of a model.", ["model"], registry=registry
        )
        self.load = Gauge(
            "wheatear_load", "Share of the time that live streams are expected to need.",
            registry=registry,
        )  # fmt: skip
        self.step_seconds = Histogram(
            "wheatear_step_seconds", "Time of a step of the encoder and search.",
            ["model", "kind"], buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.step_streams = Histogram(
            "wheatear_step_streams", "Streams in a live step.",
            ["model"], buckets=_ROWS, registry=registry,
        )  # fmt: skip
        self.lag_seconds = Histogram(
            "wheatear_lag_seconds", "From a live chunk's last sample to its text.",
            ["model", "latency_ms"], buckets=_SECONDS, registry=registry,
        )  # fmt: skip

    def text(self) -> bytes:
        """Returns all metrics as text."""
        return generate_latest(self.registry)


class ModelObserver(Observer):
    """Records the measurements of one model's scheduler."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._metrics, self._model = metrics, model
        self._live = metrics.step_seconds.labels(model, "live")
        self._file = metrics.step_seconds.labels(model, "file")
        self._streams = metrics.step_streams.labels(model)

    def on_step(self, streams: int, frames: int, seconds: float, live: bool) -> None:
        (self._live if live else self._file).observe(seconds)
        if live:
            self._streams.observe(streams)

    def on_lag(self, latency_ms: int, seconds: float) -> None:
        self._metrics.lag_seconds.labels(self._model, str(latency_ms)).observe(seconds)

    def on_rejected(self) -> None:
        self._metrics.refused.labels("overload").inc()
