"""A worker process that answers requests, one line of JSON each."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Self

from wheatear.bench.engines import failure
from wheatear.bench.machine import peak_rss_mb
from wheatear.errors import BenchError


class Process:
    """A process that ends with its `with` block, or with `close`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Starts the process.  Raises BenchError if the program does not exist.

        Args:
            name: Name of the engine in errors.
            command: Program and arguments.
            environment: Variables added to those of this process.
        """
        self._name = name
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # an unread pipe would fill up
        try:
            self._process = subprocess.Popen(  # noqa: S603
                [str(part) for part in command],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
                env=os.environ | environment,
            )  # fmt: skip
        except OSError as error:
            self._errors.close()
            raise BenchError(f"cannot start {command[0]}: {error.strerror or error}") from error

    def request(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Sends a request and returns the answer.  Raises BenchError if the process ends."""
        process = self._process
        assert process.stdin is not None  # noqa: S101  (they are pipes)
        assert process.stdout is not None  # noqa: S101
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            code = process.wait()
            self._errors.seek(0)
            raise failure(self._name, self._errors.read().decode("utf-8", "replace"), code)
        return json.loads(answer)

    def peak_rss_mb(self) -> float:
        """Peak resident memory in MB."""
        return peak_rss_mb(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes its input and waits for its end."""
        try:
            self._process.communicate()
        finally:
            self._errors.close()
