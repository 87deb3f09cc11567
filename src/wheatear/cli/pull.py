"""`wheatear pull`: a model from the hub or a URL, with its license shown and a progress bar."""

from typing import Literal

from rich.console import Console
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

from wheatear.cli.convert import needs_extra
from wheatear.common.terminal_text import printable


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
    """Fetch a model by name, from the hub or from a URL, and make it usable by name.

    A checkpoint is converted at once; packages of ONNX graphs are taken as they are. What was
    interrupted goes on where it was when the same command is run again.

    Parameters
    ----------
    model
        nemotron-3.5, nemotron-en, a hub id such as nvidia/nemotron-3.5-asr-streaming-0.6b, or the
        URL of a .nemo, .gguf or .safetensors file, or of an archive of ONNX graphs.
    precision
        fp32 is exact, int8 half to a quarter of the size, int4 the smallest.
    name
        What to call the model here; its own name if left out.
    file
        Which file or folder of a repository, where it has several.
    revision
        Branch, tag or commit; a pinned commit for models that are known here, else main.
    sha256
        Hash that the file at a URL must have; needed where the URL is not https.
    """
    with needs_extra("hub"):
        from wheatear.model.hub.pull import Observer  # noqa: PLC0415  (an extra)
        from wheatear.model.hub.pull import pull as run  # noqa: PLC0415
        from wheatear.model.hub.sources import Source  # noqa: PLC0415
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )

    class Shown(Observer):
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

    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        folder = run(
            model,
            precision=precision,
            name=name,
            file=file,
            revision=revision,
            sha256=sha256,
            observer=Shown(progress),
        )
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {size / 1e6:.1f} MB; use it as --model {folder.name}")
