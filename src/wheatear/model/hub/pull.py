"""Fetches models: from a name, a hub id or a URL to a model folder that is used by name.

    find_source     which files, from where, under what license
    download        each of them, resumable, held against its hash
    convert         a checkpoint to a bundle at the precision that is wanted
    rename          into the folder of models, in one step: there is no half-made model

All of it happens in a hidden folder of the models' folder, so that an interrupted pull goes on
where it was and is never taken for a model.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from wheatear.common import atomic_files as durable
from wheatear.errors import DownloadError, MissingExtraError
from wheatear.model.hub.download import download, full_disks_told, present, sha256_of
from wheatear.model.hub.external_package import assemble
from wheatear.model.hub.licenses import license_files
from wheatear.model.hub.sources import Source, find_source
from wheatear.model.manifest import LICENSE_FILE
from wheatear.model.store import models_folder

__all__ = ["Observer", "pull"]

_DOWNLOADS = ".downloads"
# A bundle's size against that of the checkpoint in float32, with room to spare.
_SHARE = {"fp32": 1.05, "int8": 0.32, "int4": 0.22}
_TO_FLOAT32 = {".gguf": 3.6, ".safetensors": 2.0}  # q8_0, and perhaps bfloat16


class Observer:
    """Is told how a pull goes; does nothing itself."""

    def found(self, source: Source, missing: int) -> None:
        """What will be fetched: bytes that are missing."""

    def fetching(self, name: str, done: int, size: int | None) -> None:
        """Bytes of a file that have arrived."""

    def converting(self, share: float) -> None:
        """Share of the conversion that is done, 0 .. 1."""


def pull(
    what: str,
    *,
    precision: str = "int4",
    name: str | None = None,
    file: str | None = None,
    revision: str | None = None,
    sha256: str | None = None,
    observer: Observer = Observer(),  # noqa: B008  (has no state)
) -> Path:
    """Fetches a model and makes it usable by name; the folder it is in.

    what: a name of `wheatear.model.published`, a hub id (`organisation/name`) or a URL.
    precision: of
    the bundle; packages of ONNX graphs are taken as they are.  name: what to call it here.  file:
    which file or folder of a repository.  revision: branch, tag or commit.  sha256: of the file
    at a URL.

    Raises DownloadError, CheckpointError for what cannot be converted, or MissingExtraError.
    """
    _need_extras()
    from wheatear.convert.quantize import RECIPES  # noqa: PLC0415  (an extra)

    if precision not in RECIPES:
        raise DownloadError(f"no precision {precision!r}; choose one of {', '.join(RECIPES)}")
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
    with full_disks_told(work), _alone(work):
        missing = _room(source, work, precision)
        observer.found(source, missing)
        paths = {
            remote.name: download(
                remote, work, lambda done, r=remote: observer.fetching(r.name, done, r.size)
            )
            for remote in source.files
        }
        made = _made(source, paths, work, precision, name, observer)
        durable.rename_folder(made, target)
        shutil.rmtree(work, ignore_errors=True)
    return target


def _made(
    source: Source,
    paths: dict[str, Path],
    work: Path,
    precision: str,
    name: str,
    observer: Observer,
) -> Path:
    """The folder that will be the model."""
    made = work / "model"
    for leftover in (made, *work.glob(".model.*")):
        shutil.rmtree(leftover, ignore_errors=True)
    hashes = {file: sha256_of(path) for file, path in paths.items()}
    brought = {
        file: path.read_text("utf-8", "replace")
        for file, path in paths.items()
        if LICENSE_FILE.fullmatch(file)
    }
    if source.kind in ("package", "archive"):
        texts = license_files(source.origin, hashes, "Taken as they were", brought)
        return assemble(source, paths, texts, made)
    from wheatear.convert.pipeline import convert  # noqa: PLC0415  (an extra, and slow to import)

    checkpoint = work if source.kind == "transformers" else paths[source.main]
    change = f"Converted to ONNX graphs in {precision}"
    convert(
        checkpoint,
        made,
        precision,
        name=name,
        origin=str(source.origin),
        texts=license_files(source.origin, hashes, change, brought),
        progress=observer.converting,
    )
    return made


def _room(source: Source, work: Path, precision: str) -> int:
    """Bytes that are missing; DownloadError if the disk has no room for them and the model."""
    missing = sum(max(0, (file.size or 0) - present(file, work)) for file in source.files)
    whole = sum(file.size or 0 for file in source.files)
    made = whole if source.kind in ("package", "archive") else whole * _SHARE[precision]
    if source.kind in ("checkpoint", "transformers"):
        kinds = {PurePosixPath(file.name).suffix for file in source.files}
        made *= max(_TO_FLOAT32.get(kind, 1.0) for kind in kinds)
    work.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(work).free
    if missing + made > free:
        raise DownloadError(
            f"{source.origin.label} needs {_size(missing + made)} in {models_folder()} "
            f"({_size(missing)} to fetch, {_size(made)} for the model), and {_size(free)} are "
            f"free: make room, or set WHEATEAR_MODELS to a folder on another disk"
        )
    return missing


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Keeps a second pull of the same model out."""
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


def _need_extras() -> None:
    try:
        import huggingface_hub  # noqa: F401, PLC0415

        import wheatear.convert.pipeline  # noqa: F401, PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"fetching models needs {error.name}: pip install 'wheatear[hub]'"
        ) from error
