"""A process of our own that answers requests, a line of JSON each."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Self

from wheatear.bench.memory import peak_rss_mb
from wheatear.errors import BenchError


class Process:
    """Runs for as long as a `with` block lasts, or until `close`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """environment: variables beside those of this process.  Raises BenchError if there is no
        such program.
        """
        self._name = name
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # a pipe that nobody reads fills up
        try:
            self._process = subprocess.Popen(  # noqa: S603
                [str(part) for part in command],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
                env=os.environ | environment,
            )  # fmt: skip
        except OSError as error:
            self._errors.close()
            raise BenchError(f"cannot start {command[0]}: {error.strerror or error}") from error

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request.  Raises BenchError if the process ends without one."""
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
            said = self._errors.read().decode("utf-8", "replace").strip().splitlines()
            why = said[-1] if said else f"it ended with code {code}"
            raise BenchError(f"{self._name} cannot be measured: {why}")
        return json.loads(answer)

    def peak_rss_mb(self) -> float:
        """The most memory it has held, megabytes."""
        return peak_rss_mb(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets it end."""
        try:
            self._process.communicate()
        finally:
            self._errors.close()
