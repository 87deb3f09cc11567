"""Fetches models: from a name, a hub id or a URL to a folder among the user's models.

    find_source     files, their addresses and their license
    download        each file, resumed and verified
    build           a model folder from the fetched files
    rename          into the folder of models, in one step

Files are fetched into a hidden folder next to the models. An interrupted pull resumes there, and is
never mistaken for a model.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wheatear.common import atomic_files
from wheatear.errors import DownloadError, MissingExtraError
from wheatear.model.hub.download import bytes_present, download, full_disk_as_error
from wheatear.model.hub.licenses import license_files
from wheatear.model.hub.sources import Source, find_source
from wheatear.model.manifest import LICENSE_FILE, sha256
from wheatear.model.store import models_folder

_DOWNLOADS = ".downloads"


class Observer:
    """Receives the progress of a pull; does nothing itself."""

    def found(self, source: Source, missing: int) -> None:
        """Called when the files are known.  missing: bytes to fetch."""

    def fetching(self, name: str, done: int, size: int | None) -> None:
        """Called when bytes of a file have arrived."""


@dataclass(frozen=True)
class Fetched:
    """Files of a source on this machine."""

    source: Source
    name: str
    """Name of the model that will be made."""
    paths: Mapping[str, Path]

    @property
    def checkpoint(self) -> Path:
        """File or folder that is converted."""
        main = self.paths[self.source.main]
        return main.parent if self.source.kind == "transformers" else main

    def license_files(self, change: str) -> dict[str, str]:
        """Returns texts to write next to the model.  change: description of changes to weights."""
        hashes = {name: sha256(path) for name, path in self.paths.items()}
        texts = {
            name: path.read_text("utf-8", "replace")
            for name, path in self.paths.items()
            if LICENSE_FILE.fullmatch(name)
        }
        return license_files(self.source.origin, hashes, change, texts)


def pull(
    what: str,
    *,
    build: Callable[[Fetched, Path], None],
    model_bytes: Callable[[Source], float],
    name: str | None = None,
    file: str | None = None,
    revision: str | None = None,
    sha256: str | None = None,
    observer: Observer = Observer(),  # noqa: B008  (has no state)
) -> Path:
    """Fetches a model and makes it usable by name.

    Args:
        what: A name of `wheatear.model.published`, a hub id (`organization/name`) or a URL.
        build: Makes a new model folder from the fetched files.
        model_bytes: Estimates the size of that folder.
        name: Name of the model here; the name of the source if None.
        file: File or folder of a repository.
        revision: Branch, tag or commit.
        sha256: Hash of the file at a URL.
        observer: Receives the progress.

    Returns:
        The model folder.

    Raises:
        DownloadError: The model cannot be fetched, or the disk is full.
        MissingExtraError: The hub's client is not installed.
    """
    _check_extra()
    if name is not None:
        _check_name(name)
    source = find_source(what, file=file, revision=revision, sha256=sha256)
    name = name or source.name
    _check_name(name)
    target = models_folder() / name
    if target.exists():
        raise DownloadError(
            f"{target} is there already; remove it, or give the new one another name with --name"
        )
    work = models_folder() / _DOWNLOADS / name
    with full_disk_as_error(work), _locked(work):
        missing = sum(max(0, (f.size or 0) - bytes_present(f, work)) for f in source.files)
        _check_room(source, work, missing, model_bytes(source))
        observer.found(source, missing)
        paths = {
            remote.name: download(
                remote, work, lambda done, r=remote: observer.fetching(r.name, done, r.size)
            )
            for remote in source.files
        }
        made = work / "model"
        for leftover in (made, *work.glob(".model.*")):
            shutil.rmtree(leftover, ignore_errors=True)
        build(Fetched(source, name, paths), made)
        atomic_files.rename_folder(made, target)
        shutil.rmtree(work, ignore_errors=True)
    return target


def _check_room(source: Source, work: Path, missing: int, model: float) -> None:
    """Raises DownloadError if the disk has no room for the missing files and the model."""
    work.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(work).free
    if missing + model > free:
        raise DownloadError(
            f"{source.origin.label} needs {_size(missing + model)} in {models_folder()} "
            f"({_size(missing)} to fetch, {_size(model)} for the model), and {_size(free)} are "
            f"free: make room, or set WHEATEAR_MODELS to a folder on another disk"
        )


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


@contextmanager
def _locked(work: Path) -> Iterator[None]:
    """Holds the lock of a model's name; a second pull of it raises DownloadError."""
    from filelock import FileLock, Timeout  # noqa: PLC0415  (huggingface_hub's)

    work.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(work.with_name(f"{work.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise DownloadError(f"{work.name} is being pulled already") from None
    try:
        yield
    finally:
        lock.release()


def _check_name(name: str) -> None:
    if not name or name.startswith(".") or any(c in name for c in "/\\:") or not name.isprintable():
        raise DownloadError(f"{name!r} cannot be the name of a model; give another with --name")


def _check_extra() -> None:
    try:
        import huggingface_hub  # noqa: F401, PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"fetching models needs {error.name}: pip install 'wheatear[hub]'"
        ) from error
