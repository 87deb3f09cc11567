"""One file over HTTP: what an interrupted download left is gone on with, and what is there in the
end is what was promised, or it is not there.

huggingface_hub knows repositories, tokens, mirrors and how to be offline, and its HTTP client is
used here; but since its version 2.4 what it has of a file is thrown away when it is interrupted,
which for two gigabytes over a slow line means never.
"""

import errno
import hashlib
import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from wheatear.common import atomic_files as durable
from wheatear.errors import DownloadError
from wheatear.model.size_limits import MAX_MODEL_BYTES

_TRIES = 5  # in a row that bring nothing new
_LONGEST_WAIT = 60.0  # seconds that a server may ask for
_ANSWERS = (200, 206, 416)
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_BLOCK = 1 << 20
_ENOUGH = 1 << 16  # bytes for which a connection was worth it
_PARTIAL = ".part"
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class RemoteFile:
    name: str
    """Under which it is kept, without folders."""
    url: str
    size: int | None = None
    sha256: str | None = None
    git_id: str | None = None
    """Its hash as a git blob, of files that are not in large file storage."""
    version: str = ""
    """Changes with the content; a partial download of another version is worth nothing."""
    headers: Mapping[str, str] = field(default_factory=dict)
    cached: Path | None = None
    """Where others have it on this machine already."""


Watch = Callable[[int], None]
"""Told how many bytes of the file are there."""


def download(file: RemoteFile, folder: Path, watch: Watch = lambda done: None) -> Path:
    """The file in `folder`, fetched unless it is there already.

    Raises DownloadError.  What has arrived by then is kept for the next call, unless it is wrong.
    """
    path = folder / file.name
    if file.cached is not None and not path.exists():
        path.unlink(missing_ok=True)
        path.symlink_to(file.cached)
    if path.is_file():
        if not _faults(path, file):
            watch(path.stat().st_size)
            return path
        path.unlink()
    partial = _partial(file, folder)
    with full_disks_told(folder):
        _fill(file, partial, watch)
    if fault := _faults(partial, file):
        partial.unlink()
        raise DownloadError(
            f"{file.url} arrived damaged: {fault}; it was thrown away, run the same command again"
        )
    durable.replace(partial, path)
    return path


def present(file: RemoteFile, folder: Path) -> int:
    """Bytes of the file that are in the folder already."""
    for path in (folder / file.name, _partial(file, folder), file.cached):
        if path is not None and path.is_file():
            return path.stat().st_size
    return 0


def patiently(
    url: str,
    action: Callable[[], Any],
    explained: Callable[[Exception], str | None] = lambda error: None,
) -> Any:
    """What `action` returns; called again a few times while the server is busy or out of reach.

    `explained` words an error that stays, where more is known of it than its status.
    """
    for tries in range(1, _TRIES + 1):
        try:
            return action()
        except Exception as error:
            status, wait = _answer(error)
            again = status in _TRY_AGAIN if status else _is_transport(error)
            if not again or tries == _TRIES or not _worth_waiting(wait):
                said = " ".join(str(error).split()) or repr(error)
                raise DownloadError(
                    explained(error) or _words(url, status, wait) or f"{url} failed: {said}"
                ) from error
            _sleep(wait if wait is not None else 2.0 ** (tries - 1))
    raise AssertionError  # the last try returns or raises


@contextmanager
def full_disks_told(folder: Path) -> Iterator[None]:
    """An error of ours for a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DownloadError(
            f"the disk of {folder} is full; what has been fetched is kept: make room and run the "
            f"same command again"
        ) from error


def is_private(url: str) -> bool:
    """True if nobody between here and there can alter what is sent: https, or this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in _THIS_MACHINE


def check_way(response: Any, url: str, pinned: bool) -> None:
    """Raises DownloadError for an answer that came by a redirect to where others can alter it,
    unless its hash is known."""
    if pinned or not is_private(url):
        return
    for hop in (*response.history, response):
        if not is_private(str(hop.url)):
            raise DownloadError(
                f"{url} is redirected to {hop.url}, which is not https: what comes from there "
                f"could have been altered on the way; give its hash with --sha256"
            )


def sha256_of(path: Path) -> str:
    return _hash(path, hashlib.sha256())


def http_client() -> Any:
    """huggingface_hub's, which knows proxies, certificates and when to be offline."""
    from huggingface_hub import get_session  # noqa: PLC0415  (an extra)

    return get_session()


# -- inside --------------------------------------------------------------------------------------

_sleep = time.sleep


def _partial(file: RemoteFile, folder: Path) -> Path:
    version = file.sha256 or file.git_id or file.version
    tag = hashlib.sha256(f"{version} {file.size}".encode()).hexdigest()[:12]
    return folder / f"{file.name}.{tag}{_PARTIAL}"


def _fill(file: RemoteFile, partial: Path, watch: Watch) -> None:
    """Requests what is missing until all of it is there."""
    if partial.exists() and not (file.sha256 or file.git_id or file.version):
        partial.unlink()  # nobody can say what it is a part of
    tries = 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        if file.size is not None and before > file.size:
            partial.unlink()
            before = 0
        if before and before == file.size:
            watch(before)
            return
        status, wait, fault = _get(file, partial, before, watch)
        after = partial.stat().st_size if partial.exists() else 0
        if fault is None and (file.size is None or after >= file.size):
            return
        if status is not None and status not in (*_TRY_AGAIN, *_ANSWERS):
            raise DownloadError(_words(file.url, status, None) or f"{file.url}: HTTP {status}")
        gained = after - before >= _ENOUGH
        tries = 1 if gained else tries + 1
        if tries >= _TRIES or not _worth_waiting(wait):
            raise DownloadError(
                f"{_words(file.url, status, wait) or f'{file.url} failed: {fault}'}; "
                f"{after:,} bytes are kept: run the same command again to go on"
            )
        if not gained:
            _sleep(wait if wait is not None else 2.0 ** (tries - 1))


def _get(
    file: RemoteFile, partial: Path, start: int, watch: Watch
) -> tuple[int | None, float | None, str | None]:
    """One request for the bytes from `start` on, added to what is there.

    Status, the wait that is asked for, and what went wrong.
    """
    status, wait = None, None
    try:
        with _request(file, start) as response:
            status, wait = response.status_code, _wait(response)
            check_way(response, file.url, bool(file.sha256 or file.git_id))
            if status == 416:  # there is less of it than is here
                partial.unlink(missing_ok=True)
                return status, wait, "it ended early"
            if status not in (200, 206):
                return status, wait, f"HTTP {status}"
            if fault := _stranger(response, file, start):
                return status, wait, fault
            _write(response, partial, start if status == 206 else 0, file, watch)
    except Exception as error:
        if not _is_transport(error):
            raise
        return status, wait, " ".join(str(error).split()) or repr(error)
    return status, wait, None


def _request(file: RemoteFile, start: int) -> Any:
    headers = {**file.headers, "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    return http_client().stream(
        "GET", file.url, headers=headers, follow_redirects=True, timeout=30.0
    )


def _stranger(response: Any, file: RemoteFile, start: int) -> str | None:
    """Why an answer is not the file from that byte on; None if it may be."""
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


def _write(response: Any, partial: Path, start: int, file: RemoteFile, watch: Watch) -> None:
    most = MAX_MODEL_BYTES if file.size is None else file.size
    with partial.open("r+b" if start else "wb") as out:
        out.seek(start)
        for block in response.iter_bytes():
            start += len(block)
            if start > most:
                raise DownloadError(
                    f"{file.url} arrived damaged: it sends more than {most:,} bytes; run the same "
                    f"command again"
                )
            out.write(block)
            watch(start)


def _faults(path: Path, file: RemoteFile) -> str | None:
    """What is wrong with a whole file; None if nothing is, as far as can be told."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"it has {size:,} bytes instead of {file.size:,}"
    if file.sha256 and (found := sha256_of(path)) != file.sha256.lower():
        return f"its SHA-256 is {found} instead of {file.sha256}"
    if file.git_id and not file.sha256:
        blob = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
        if (found := _hash(path, blob)) != file.git_id:
            return f"its git id is {found} instead of {file.git_id}"
    return None


def _hash(path: Path, digest: Any) -> str:
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _is_transport(error: Exception) -> bool:
    """Whether the line failed rather than the server or we."""
    # httpx or its successor, whichever huggingface_hub uses
    package = importlib.import_module(type(http_client()).__module__.partition(".")[0])
    return isinstance(error, package.TransportError)


def _answer(error: Exception) -> tuple[int | None, float | None]:
    """Status and asked-for wait of the response in an error of huggingface_hub."""
    response = getattr(error, "response", None)
    if response is None:
        return None, None
    return response.status_code, _wait(response)


def _wait(response: Any) -> float | None:
    try:
        return max(0.0, float(response.headers.get("Retry-After", "")))
    except ValueError:
        return None


def _worth_waiting(wait: float | None) -> bool:
    return wait is None or wait <= _LONGEST_WAIT


def _words(url: str, status: int | None, wait: float | None) -> str | None:
    """What a status means, where that does not depend on what was asked for."""
    if status == 429:
        when = "" if wait is None else f" and asks to wait {wait:.0f} s"
        return f"{url}: the server is asked too often{when}"
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
