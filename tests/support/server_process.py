"""A real `wheatear serve` in a process of its own, on a port that is free."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SAMPLE = Path(__file__).parents[2] / "src" / "wheatear" / "data" / "samples" / "en-US.flac"


class Server:
    """A running `wheatear serve`."""

    def __init__(self, *arguments: str, ulimit: str = "", **environment: str) -> None:
        """Extra arguments of the command, and variables of its environment.

        ulimit: options of the shell's command of that name, for its process.
        """
        command = [sys.executable, "-m", "wheatear", "serve", *arguments]
        if ulimit:
            command = ["sh", "-c", f'ulimit {ulimit} && exec "$@"', "sh", *command]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"WHEATEAR_SERVE_PORT": "0"} | environment,
        )  # fmt: skip
        self._log: list[str] = []
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert "listens on" in line, f"the server did not start: {line}{self.log}"
        self.url = line.split()[-1]
        self.port = int(self.url.rpartition(":")[2])
        self.ws = self.url.replace("http", "ws", 1)
        self.key: str | None = None
        """Key that `get` sends, if any."""

    @property
    def log(self) -> str:
        """Its standard error up to now."""
        return "".join(self._log)

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._log.append(line)

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Status and body of a GET."""
        key = {"x-api-key": self.key} if self.key else {}
        request = urllib.request.Request(self.url + path, headers=key | headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def post_form(self, path: str, fields: dict[str, str], file: bytes) -> tuple[int, str]:
        """Status and body of a form with a file in it."""
        edge = "----------------edge"
        parts = [
            f'--{edge}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        ]
        head = 'Content-Disposition: form-data; name="file"; filename="audio"\r\n\r\n'
        body = "".join([*parts, f"--{edge}\r\n{head}"]).encode() + file
        request = urllib.request.Request(  # noqa: S310
            self.url + path, body + f"\r\n--{edge}--\r\n".encode(),
            {"content-type": f"multipart/form-data; boundary={edge}"},
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str, **labels: str) -> float:
        """A figure of /metrics: the sum over all its lines that have these labels."""
        status, text = self.get("/metrics")
        assert status == 200, text
        total = 0.0
        for line in text.splitlines():
            match = re.fullmatch(rf"{name}(?:_total)?(?:\{{(.*)\}})? (\S+)", line)
            has = dict(re.findall(r'(\w+)="([^"]*)"', match[1] or "")) if match else {}
            if match and labels.items() <= has.items():
                total += float(match[2])
        return total

    def wait_for_rest(self, seconds: float = 15.0) -> None:
        """Waits until no socket, file or stream is left, as it must be some time after all."""
        end = time.monotonic() + seconds
        names = ("wheatear_sockets", "wheatear_files", "wheatear_streams")
        while left := {n: v for n in names if (v := self.metric(n))}:
            assert time.monotonic() < end, f"still held: {left}\n{self.log}"
            time.sleep(0.05)

    def used(self) -> dict[str, float]:
        """Resources of the process: descriptors, threads, MB of memory."""
        process = Path(f"/proc/{self.process.pid}")
        pages = int((process / "statm").read_text().split()[1])
        return {
            "descriptors": len(os.listdir(process / "fd")),
            "threads": len(os.listdir(process / "task")),
            "memory": pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        }

    def stop(self, sig: int = signal.SIGTERM) -> int:
        """Terminates it if it runs; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join()
            for pipe in (self.process.stdout, self.process.stderr):
                assert pipe is not None
                pipe.close()


@contextmanager
def running(*arguments: str, ulimit: str = "", **environment: str) -> Iterator[Server]:
    """A server of one's own."""
    server = Server(*arguments, ulimit=ulimit, **environment)
    try:
        yield server
    finally:
        server.stop(signal.SIGKILL)


def events(socket, until, timeout=30):
    """JSON messages of a socket, up to and with the first one of that type."""
    got = []
    while True:
        got.append(json.loads(socket.recv(timeout=timeout)))
        if got[-1]["type"] == until:
            return got
