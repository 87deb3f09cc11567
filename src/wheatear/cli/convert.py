"""`wheatear convert`: makes a bundle of a checkpoint and shows sizes and deviation."""

from pathlib import Path
from typing import Literal

from wheatear.cli.extras import requires_extra
from wheatear.cli.progress import show_steps
from wheatear.errors import CheckpointError
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

    Neither torch nor NeMo is needed. The bundle runs at all latencies of the checkpoint. Its output
    on a short sample of speech is compared with the checkpoint in float32.

    Parameters
    ----------
    checkpoint
        A .nemo file, a folder in the layout of transformers, NVIDIA's q8_0 GGUF, or a safetensors
        file made by "wheatear train" or "wheatear finetune".
    out
        Folder to write; it must not exist.
    precision
        fp32: exact; int8: a quarter to half of the size; int4: the smallest.
    name
        Name of the model in the bundle; by default the checkpoint's.
    """
    with requires_extra("convert"):
        from wheatear.convert.pipeline import convert as run  # noqa: PLC0415  (an extra)
    try:
        with show_steps() as show:
            deviation = run(
                checkpoint, out, precision, name=name,
                progress=lambda share: show("converting", share),
            )  # fmt: skip
    except OSError as error:
        raise CheckpointError(f"cannot write {out}: {error.strerror or error}") from error
    print(f"{out}: {precision}, {_megabytes(out, '*'):.1f} MB")
    for graph in (ENCODER, PREDICTOR, JOINT):
        print(f"  {Path(graph).stem:10} {_megabytes(out, f'{Path(graph).stem}.*'):9.1f} MB")
    print(
        f"compared with the checkpoint in float32 on {deviation.seconds:.1f} s of speech: "
        f"encoder output differs by {deviation.encoder:.2%} (rms), "
        f"{deviation.tokens} of {deviation.of_tokens} tokens"
    )


def _megabytes(folder: Path, pattern: str) -> float:
    return sum(file.stat().st_size for file in folder.glob(pattern)) / 1e6
