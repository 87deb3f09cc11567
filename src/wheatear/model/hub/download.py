"""Downloads one file over HTTP: resumes partial downloads, and verifies size and hash.

The hub's client is used for repositories, tokens, mirrors and HTTP, but not for downloads: since
version 2.4 of huggingface_hub an interrupted download starts again from nothing.
"""

import errno
import hashlib
import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Any
from urllib.parse import urlsplit

from wheatear.common import atomic_files
from wheatear.errors import DownloadError
from wheatear.model.manifest import sha256
from wheatear.model.size_limits import MAX_MODEL_BYTES

_MAX_TRIES = 5  # in a row without progress
_MAX_WAIT_S = 60.0  # that a server may request
_BUSY = (408, 425, 429, 500, 502, 503, 504)
_ANSWERS = (200, 206, 416, *_BUSY)
_PROGRESS_BYTES = 1 << 16  # of a connection that counts as progress
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class RemoteFile:
    """A file to download, with its size and hashes if known."""

    name: str
    """Name on this machine, without folders."""
    url: str
    size: int | None = None
    sha256: str | None = None
    git_id: str | None = None
    """Hash as a git blob, of files that are not in large file storage."""
    version: str = ""
    """Value that changes with the content, such as an ETag."""
    headers: Mapping[str, str] = field(default_factory=dict)
    cached: Path | None = None
    """Copy in the cache of the hub's client."""

    @property
    def has_hash(self) -> bool:
        return bool(self.sha256 or self.git_id)

    def partial(self, folder: Path) -> Path:
        """Returns the path of its partial download, which differs for each version."""
        version = self.sha256 or self.git_id or self.version
        tag = hashlib.sha256(f"{version} {self.size}".encode()).hexdigest()[:12]
        return folder / f"{self.name}.{tag}.part"


OnProgress = Callable[[int], None]
"""Called with the number of bytes that are on this machine."""


def download(file: RemoteFile, folder: Path, on_progress: OnProgress = lambda done: None) -> Path:
    """Fetches a file into a folder, unless it is there.

    Raises:
        DownloadError: It cannot be fetched, or its content is wrong. Bytes that may be right are
            kept for the next call.
    """
    path = folder / file.name
    if file.cached is not None and not path.exists():
        path.unlink(missing_ok=True)
        path.symlink_to(file.cached)
    if path.is_file():
        if not _defect(path, file):
            on_progress(path.stat().st_size)
            return path
        path.unlink()
    partial = file.partial(folder)
    with full_disk_as_error(folder):
        _fetch(file, partial, on_progress)
    if defect := _defect(partial, file):
        partial.unlink()
        raise DownloadError(
            f"{file.url} arrived damaged: {defect}; it was thrown away, run the same command again"
        )
    atomic_files.replace(partial, path)
    return path


def bytes_present(file: RemoteFile, folder: Path) -> int:
    """Returns the number of bytes of a file that are on this machine."""
    for path in (folder / file.name, file.partial(folder), file.cached):
        if path is not None and path.is_file():
            return path.stat().st_size
    return 0


def with_retries(
    url: str,
    action: Callable[[], Any],
    explain: Callable[[Exception], str | None] = lambda error: None,
) -> Any:
    """Returns the result of `action`, which is repeated while the server is busy or unreachable.

    `explain` returns the message of an error. Raises DownloadError for the last or a final error.
    """
    for tries in range(1, _MAX_TRIES + 1):
        try:
            return action()
        except Exception as error:
            response = getattr(error, "response", None)
            status = None if response is None else response.status_code
            wait_s = None if response is None else _retry_after(response)
            again = status in _BUSY if status else _is_transport_error(error)
            if not again or tries == _MAX_TRIES or (wait_s or 0) > _MAX_WAIT_S:
                reason = " ".join(str(error).split()) or repr(error)
                raise DownloadError(
                    explain(error)
                    or _explain_status(url, status, wait_s)
                    or f"{url} failed: {reason}"
                ) from error
            sleep(2.0 ** (tries - 1) if wait_s is None else wait_s)
    raise AssertionError  # the last try returns or raises


@contextmanager
def full_disk_as_error(folder: Path) -> Iterator[None]:
    """Raises DownloadError for a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DownloadError(
            f"the disk of {folder} is full; what has been fetched is kept: make room and run the "
            f"same command again"
        ) from error


def is_secure(url: str) -> bool:
    """True if content cannot be altered on its way: the address is https, or this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in _LOOPBACK


def check_redirects(response: Any, url: str, has_hash: bool) -> None:
    """Raises DownloadError if a response came from an insecure address and has no known hash."""
    if has_hash or not is_secure(url):
        return
    for hop in (*response.history, response):
        if not is_secure(str(hop.url)):
            raise DownloadError(
                f"{url} is redirected to {hop.url}, which is not https: what comes from there "
                f"could have been altered on the way; give its hash with --sha256"
            )


def http_client() -> Any:
    """Returns the HTTP client of huggingface_hub, which knows proxies and offline mode."""
    from huggingface_hub import get_session  # noqa: PLC0415  (an extra)

    return get_session()


@dataclass
class _Attempt:
    """Result of one request."""

    status: int | None = None
    wait_s: float | None = None
    """Wait that the server requests."""
    fault: str | None = None


def _fetch(file: RemoteFile, partial: Path, on_progress: OnProgress) -> None:
    """Requests missing bytes until the file is complete."""
    if partial.exists() and not (file.has_hash or file.version):
        partial.unlink()  # it may be part of another version
    tries = 0
    while True:
        before = _size(partial)
        if file.size is not None and before > file.size:
            partial.unlink()
            before = 0
        if before and before == file.size:
            on_progress(before)
            return
        attempt = _request(file, partial, before, on_progress)
        after = _size(partial)
        if attempt.fault is None and (file.size is None or after >= file.size):
            return
        status, wait_s = attempt.status, attempt.wait_s
        if status is not None and status not in _ANSWERS:
            raise DownloadError(
                _explain_status(file.url, status, None) or f"{file.url}: HTTP {status}"
            )
        progressed = after - before >= _PROGRESS_BYTES
        tries = 1 if progressed else tries + 1
        if tries >= _MAX_TRIES or (wait_s or 0) > _MAX_WAIT_S:
            reason = _explain_status(file.url, status, wait_s)
            raise DownloadError(
                f"{reason or f'{file.url} failed: {attempt.fault}'}; "
                f"{after:,} bytes are kept: run the same command again to resume"
            )
        if not progressed:
            sleep(2.0 ** (tries - 1) if wait_s is None else wait_s)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _request(file: RemoteFile, partial: Path, start: int, on_progress: OnProgress) -> _Attempt:
    """Requests the bytes from `start`, and appends them to the partial file."""
    attempt = _Attempt()
    headers = {**file.headers, "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with http_client().stream(
            "GET", file.url, headers=headers, follow_redirects=True, timeout=30.0
        ) as response:
            attempt.status, attempt.wait_s = response.status_code, _retry_after(response)
            check_redirects(response, file.url, file.has_hash)
            if attempt.status == 416:  # the file is shorter than the partial one
                partial.unlink(missing_ok=True)
                attempt.fault = "it ended early"
            elif attempt.status not in (200, 206):
                attempt.fault = f"HTTP {attempt.status}"
            else:
                attempt.fault = _mismatch(response, file, start)
            if attempt.fault is None:
                offset = start if attempt.status == 206 else 0
                _write_body(response, partial, offset, file, on_progress)
    except Exception as error:
        if not _is_transport_error(error):
            raise
        attempt.fault = " ".join(str(error).split()) or repr(error)
    return attempt


def _mismatch(response: Any, file: RemoteFile, start: int) -> str | None:
    """Returns the reason why a response is not the file from `start`, if there is one."""
    if response.status_code == 200:
        offered = response.headers.get("Content-Length", "")
    else:
        unit, _, span = response.headers.get("Content-Range", "").partition(" ")
        first, offered = span.partition("-")[0], span.rpartition("/")[2]
        if (unit, first) != ("bytes", str(start)):
            return f"it sends the bytes {span} instead of those from {start}"
    if file.size is not None and offered.isdecimal() and int(offered) != file.size:
        return f"it offers {int(offered):,} bytes instead of {file.size:,}"
    return None


def _write_body(
    response: Any, partial: Path, start: int, file: RemoteFile, on_progress: OnProgress
) -> None:
    """Writes the body of a response to a file from `start`. Raises DownloadError if too long."""
    limit = MAX_MODEL_BYTES if file.size is None else file.size
    with partial.open("r+b" if start else "wb") as out:
        out.seek(start)
        for block in response.iter_bytes():
            start += len(block)
            if start > limit:
                raise DownloadError(
                    f"{file.url} arrived damaged: it sends more than {limit:,} bytes; run the same "
                    f"command again"
                )
            out.write(block)
            on_progress(start)


def _defect(path: Path, file: RemoteFile) -> str | None:
    """Returns the difference between a complete file and its known size and hash, if any."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"it has {size:,} bytes instead of {file.size:,}"
    if file.sha256 and (found := sha256(path)) != file.sha256.lower():
        return f"its SHA-256 is {found} instead of {file.sha256}"
    if file.git_id and not file.sha256:
        digest = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, lambda: digest).hexdigest()
        if found != file.git_id:
            return f"its git id is {found} instead of {file.git_id}"
    return None


def _is_transport_error(error: Exception) -> bool:
    """True if the connection failed, not the server or this program."""
    # httpx or its successor, whichever huggingface_hub uses
    package = importlib.import_module(type(http_client()).__module__.partition(".")[0])
    return isinstance(error, package.TransportError)


def _retry_after(response: Any) -> float | None:
    try:
        return max(0.0, float(response.headers.get("Retry-After", "")))
    except ValueError:
        return None


def _explain_status(url: str, status: int | None, wait_s: float | None) -> str | None:
    """Returns the message of a status that means the same for every request."""
    if status == 429:
        when = "" if wait_s is None else f"; it requests a wait of {wait_s:.0f} s"
        return f"{url}: the server has had too many requests{when}"
    if status in (401, 403):
        return (
            f"{url}: access denied (HTTP {status}); if the model is gated, accept its terms on its "
            f"page, then run 'hf auth login' or set HF_TOKEN"
        )
    if status in (404, 410):
        return f"{url}: there is no such file (HTTP {status})"
    if status is not None and status >= 500:
        return f"{url}: the server has a fault (HTTP {status})"
    return None
