"""Converts a checkpoint into a bundle, with the memory of its largest layer."""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from wheatear.common.atomic_files import rename_folder
from wheatear.convert.architecture import Architecture, read_architecture
from wheatear.convert.checkpoints.open import open_checkpoint
from wheatear.convert.checkpoints.weights import Checkpoint
from wheatear.convert.graphs.decoder import write_joint, write_predictor
from wheatear.convert.graphs.encoder import language_table, write_encoder
from wheatear.convert.quantize import RECIPES, QuantizationRecipe
from wheatear.convert.verify import Deviation, measure_deviation
from wheatear.errors import CheckpointError
from wheatear.model.bundle import ENCODER, JOINT, LANGUAGES, PIECES, PREDICTOR
from wheatear.model.manifest import BundleManifest, DecoderShape, EncoderShape, write_manifest

__all__ = ["Deviation", "convert"]

_BYTES = {32: 4.0, 8: 1.3, 4: 0.9}  # for each parameter, including what stays in float32
# Tensors that transcription does not use.
_UNUSED = ("preprocessor.", "spec_augment", "loss.", "ctc_decoder.", "aux_ctc")


def convert(
    checkpoint: Path,
    out: Path,
    precision: str = "int4",
    *,
    name: str | None = None,
    origin: str | None = None,
    texts: Mapping[str, str] = MappingProxyType({}),
    progress: Callable[[float], None] = lambda share: None,
) -> Deviation:
    """Writes a bundle. A failed conversion leaves nothing behind.

    Args:
        checkpoint: A .nemo, GGUF or safetensors file, or a folder in the layout of transformers.
        out: Folder of the bundle; it must not exist, or be empty.
        precision: "int4", "int8" or "fp32".
        name: Name of the model; by default the one of the checkpoint.
        origin: Source of the checkpoint, such as its page on a hub.
        texts: Further license and notice texts by file name.
        progress: Called with the completed share, 0 to 1.

    Returns:
        The deviation from the checkpoint in float32 on a short sample recording.

    Raises:
        CheckpointError: The checkpoint is damaged or unsupported, or `out` is not free.
        OSError: The bundle cannot be written.
    """
    if precision not in RECIPES:
        raise CheckpointError(f"no precision {precision!r}; choose one of {', '.join(RECIPES)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CheckpointError(f"{out} already exists; choose another place or remove it first")
    with open_checkpoint(checkpoint) as opened:
        source = replace(opened, texts=_merge_texts(opened.texts, texts))
        arch = read_architecture(source)
        out.parent.mkdir(parents=True, exist_ok=True)
        _check_disk_space(out.parent, source.weights.count(), RECIPES[precision])
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        try:
            _write(work, source, arch, RECIPES[precision], progress)
            manifest = _manifest(source, arch, precision, name or source.name, origin)
            write_manifest(work, manifest)
            deviation = measure_deviation(work, arch, source.weights)
            progress(1.0)
            if out.exists():
                out.rmdir()
            work.chmod(0o755)
            rename_folder(work, out)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    return deviation


def _check_disk_space(folder: Path, parameters: int, recipe: QuantizationRecipe) -> None:
    """Raises CheckpointError if the disk is too full for the bundle."""
    needed = parameters * _BYTES[recipe.layers]
    if needed > (free := shutil.disk_usage(folder).free):
        raise CheckpointError(
            f"the bundle would take {needed / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB "
            f"are free: make room, or choose another place"
        )


def _write(
    folder: Path,
    source: Checkpoint,
    arch: Architecture,
    recipe: QuantizationRecipe,
    progress: Callable[[float], None],
) -> None:
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress(done / (arch.layers + 5))

    weights = source.weights
    write_encoder(folder / ENCODER, arch, weights, recipe, advance)
    write_predictor(folder / PREDICTOR, arch, weights, recipe)
    advance()
    write_joint(folder / JOINT, arch, weights, recipe)
    advance()
    if arch.prompt_width:
        np.save(folder / LANGUAGES, language_table(arch, weights))
    unknown = [n for n in weights.unused() if not n.startswith(_UNUSED)]
    unknown = [n for n in unknown if not n.endswith("num_batches_tracked")]
    if unknown:
        raise CheckpointError(
            f"the checkpoint has tensors that this architecture does not: "
            f"{', '.join(unknown[:4])}{' ...' if len(unknown) > 4 else ''}"
        )
    vocabulary = json.dumps(asdict(source.vocabulary), ensure_ascii=False)
    (folder / PIECES).write_text(vocabulary, encoding="utf-8")
    for file, text in source.texts.items():
        (folder / _text_name(file)).write_text(text, encoding="utf-8")


def _merge_texts(own: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Returns all texts by file name; texts of the same name are joined."""
    merged = dict(own)
    for name, text in more.items():
        before = merged.get(name, "")
        merged[name] = text if before in ("", text) else f"{text.rstrip()}\n\n{before}"
    return merged


def _text_name(file: str) -> str:
    """Returns the name of a license or notice in the bundle, which is spelled LICENSE or NOTICE."""
    upper = file.upper()
    return f"LICENSE{file[7:]}" if upper.startswith("LICEN") else f"NOTICE{file[6:]}"


def _manifest(
    source: Checkpoint, arch: Architecture, precision: str, name: str, origin: str | None
) -> BundleManifest:
    licenses = [text for file, text in source.texts.items() if file.upper().startswith("LICEN")]
    return BundleManifest(
        name=name,
        precision=precision,
        source=origin or str(source.config.get("target") or "wheatear safetensors"),
        features=arch.features,
        encoder=EncoderShape(
            layers=arch.layers,
            width=arch.width,
            heads=arch.heads,
            kernel=arch.kernel,
            left=arch.left,
            longest_chunk=arch.longest_chunk,
        ),
        decoder=DecoderShape(
            layers=arch.predictor_layers,
            hidden=arch.hidden,
            joint=arch.joint,
            blank=arch.blank,
            max_symbols=arch.max_symbols,
        ),
        modes=arch.modes,
        default_mode=arch.default_mode,
        prompts=arch.prompts,
        tags=arch.tags,
        parameters=source.weights.count(),
        license=licenses[0].strip().split("\n")[0] if licenses else "",
    )
