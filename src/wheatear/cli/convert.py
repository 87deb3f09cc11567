"""`wheatear convert`: a checkpoint to a bundle, with a progress bar and what it cost."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from wheatear.errors import CheckpointError, MissingExtraError
from wheatear.model.bundle import ENCODER, JOINT, PREDICTOR


def convert(
    checkpoint: Path,
    out: Path,
    /,
    *,
    precision: Literal["fp32", "int8", "int4"] = "int4",
    name: str | None = None,
) -> None:
    """Convert a checkpoint into a bundle that Wheatear runs.

    Neither torch nor NeMo is needed. The bundle runs at every latency of the checkpoint. At the
    end it is held against the checkpoint in float32 on a short sample of speech.

    Parameters
    ----------
    checkpoint
        A .nemo file, a folder in the layout of transformers, NVIDIA's q8_0 GGUF, or a safetensors
        file made by wheatear.train.
    out
        Folder to write; it must not exist yet.
    precision
        fp32 is exact, int8 half to a quarter of the size, int4 the smallest.
    name
        Name of the model in the bundle; the checkpoint's own if left out.
    """
    with needs_extra("convert"):
        from wheatear.convert.pipeline import convert as run  # noqa: PLC0415  (an extra, and slow to import)
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("converting", total=1.0)
        try:
            deviation = run(
                checkpoint,
                out,
                precision,
                name=name,
                progress=lambda share: progress.update(task, completed=share),
            )
        except OSError as error:
            raise CheckpointError(f"cannot write {out}: {error.strerror or error}") from error
    print(f"{out}: {precision}, {_megabytes(out, '*'):.1f} MB")
    for graph in (ENCODER, PREDICTOR, JOINT):
        print(f"  {Path(graph).stem:10} {_megabytes(out, f'{Path(graph).stem}.*'):9.1f} MB")
    print(
        f"against the checkpoint in float32, on {deviation.seconds:.1f} s of speech: "
        f"encoder output differs by {deviation.encoder:.2%} (rms), "
        f"{deviation.tokens} of {deviation.of_tokens} tokens"
    )


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Says which extra to install when an import fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"this needs {error.name}: pip install 'wheatear[{extra}]'"
        ) from error


def _megabytes(folder: Path, pattern: str) -> float:
    return sum(file.stat().st_size for file in folder.glob(pattern)) / 1e6
