"""Log formats of the server: JSON lines, or text with one line for each record."""

import faulthandler
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TextIO

_LEVELS = {  # errors of clients are not logged
    "websockets": "ERROR",
    "uvicorn.error": "ERROR",
    "python_multipart": "WARNING",
}
_EXTRAS = ("request_id", "seconds", "holder")


@contextmanager
def logging_restored() -> Iterator[None]:
    """Restores the logging configuration of the caller at the end."""
    loggers = [logging.getLogger(name) for name in (None, *_LEVELS)]
    levels, handlers = [logger.level for logger in loggers], logging.getLogger().handlers
    try:
        yield
    finally:
        logging.getLogger().handlers = handlers
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def set_up_logging(
    log_format: Literal["text", "json"], level: str
) -> logging.StreamHandler[TextIO]:
    """Logs to standard error, and returns the handler."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter()
        if log_format == "json"
        else TextFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name, name_level in _LEVELS.items():
        logging.getLogger(name).setLevel(name_level)
    return handler


def silence_c_libraries(log: logging.StreamHandler[TextIO]) -> None:
    """Sends the output of C libraries to the null device, and the log to standard error as before.

    libmpg123 writes a line for each damaged frame of a client's file.  Fatal errors of the process
    still reach standard error.
    """
    out = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    log.setStream(out)
    sys.stderr = out
    faulthandler.enable(out)
    null = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(null, descriptor)
    os.close(null)


class JsonFormatter(logging.Formatter):
    """One line of JSON for each record."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), "level": record.levelname,
            "logger": record.name, "message": record.getMessage(),
            **{name: getattr(record, name) for name in _EXTRAS if hasattr(record, name)},
        }  # fmt: skip
        if record.exc_info:
            line["fault"] = self.formatException(record.exc_info)
        text = json.dumps(line, ensure_ascii=False)
        return "".join(c if c.isprintable() else _json_escape(c) for c in text)


class TextFormatter(logging.Formatter):
    """One line of text for each record; text of clients cannot begin another line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        extras = (f"{name}={getattr(record, name)}" for name in _EXTRAS if hasattr(record, name))
        return _printable(" ".join([super().formatMessage(record), *extras]))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Returns a traceback with indented lines, which look unlike lines of the log."""
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"    {_printable(line)}" for line in lines)


def _json_escape(character: str) -> str:
    """Returns the JSON escape of a character; DEL has one, too."""
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
