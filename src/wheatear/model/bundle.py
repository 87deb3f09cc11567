"""Bundle: a model folder whose files have been verified.

    manifest.json        architecture, latency modes, prompt dictionary, SHA-256 of every other file
    encoder.onnx         mel and caches -> encoder frames               (+ encoder.weights)
    predictor.onnx       token and LSTM state -> predictor output       (+ predictor.weights)
    joint.onnx           encoder frame + predictor output -> logits     (+ joint.weights)
    pieces.json          the vocabulary: pieces and scores in id order, ids that are not text
    languages.npy        one bias vector per prompt id (models with a language prompt)
    LICENSE*, NOTICE*    texts that came with the checkpoint

`wheatear.convert.pipeline` writes bundles.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from wheatear.errors import BundleError
from wheatear.model.manifest import (
    LICENSE_FILE,
    MANIFEST,
    BundleManifest,
    read_limited,
    read_manifest,
    sha256,
)
from wheatear.model.pieces import Pieces, pieces_from_json
from wheatear.model.size_limits import (
    MAX_MODEL_BYTES,
    MAX_SIZES,
    MAX_TEXT_BYTES,
    MAX_VOCABULARY_BYTES,
)

ENCODER, PREDICTOR, JOINT = "encoder.onnx", "predictor.onnx", "joint.onnx"
PIECES, LANGUAGES = "pieces.json", "languages.npy"
FILE_NAME = re.compile(r"[\w.+-]+")


@dataclass(frozen=True)
class ModelFolder:
    """The folder of a model and its description."""

    path: Path
    manifest: BundleManifest
    sizes: Mapping[str, int]
    """Size of every file in bytes."""

    def notices(self) -> dict[str, str]:
        """Returns license and notice texts by file name."""
        names = sorted(name for name in self.sizes if LICENSE_FILE.fullmatch(name))
        return {name: read_limited(self.path / name, MAX_TEXT_BYTES, "replace") for name in names}


@dataclass(frozen=True)
class Bundle(ModelFolder):
    """A verified bundle."""

    @cached_property
    def pieces(self) -> Pieces:
        """Pieces of the tokenizer in id order."""
        path = self.path / PIECES
        try:
            data = json.loads(read_limited(path, MAX_VOCABULARY_BYTES))
            return pieces_from_json(data, self.manifest.decoder.blank)
        except BundleError:
            raise
        except (ValueError, TypeError, RecursionError) as error:
            raise BundleError(f"{path} is damaged: {error}") from error

    @cached_property
    def language_bias(self) -> NDArray[np.float32]:
        """Bias of each prompt id before the ReLU of the prompt kernel, [prompts, width]."""
        path, rows = self.path / LANGUAGES, max(self.manifest.prompts.values()) + 1
        try:
            with path.open("rb") as file:
                shape = _npy_shape(file)
                table = np.fromfile(file, np.float32)
        except ValueError as error:
            raise BundleError(f"{path} is damaged: {error}") from error
        if (
            len(shape) != 2
            or prod(shape) != table.size
            or not 0 < shape[1] <= MAX_SIZES["encoder.prompt"]
        ):
            raise BundleError(f"{path} is damaged: its size is not the one in its header")
        if shape[0] < rows:
            raise BundleError(f"{path} does not fit the prompt dictionary")
        return table.reshape(shape)


def open_bundle(path: Path) -> Bundle:
    """Reads a bundle folder and verifies its files.

    Raises:
        BundleError: A file is missing, has the wrong size or the wrong hash; the message names it.
    """
    manifest, digests = read_manifest(path)
    required = {ENCODER, PREDICTOR, JOINT, PIECES} | ({LANGUAGES} if manifest.prompts else set())
    weights = {file.name for file in path.glob("*.weights")}
    if missing := (required | weights) - digests.keys():
        raise BundleError(
            f"{path / MANIFEST} is damaged: it does not list {', '.join(sorted(missing))}"
        )
    if sum(size for size, _ in digests.values()) > MAX_MODEL_BYTES:
        raise BundleError(f"{path} is refused: it lists more than {MAX_MODEL_BYTES >> 30} GB")
    for name, (size, digest) in digests.items():
        _verify(path, name, size, digest)
    return Bundle(path, manifest, {name: size for name, (size, _) in digests.items()})


def _verify(folder: Path, name: str, size: int, digest: str) -> None:
    hint = "copy or convert the bundle again"
    if not FILE_NAME.fullmatch(name) or name == MANIFEST:
        raise BundleError(f"{folder / MANIFEST} is damaged: it lists the file name {name!r}")
    file = folder / name
    if not file.is_file():
        raise BundleError(f"the bundle {folder} is incomplete: {name} is missing; {hint}")
    if (found := file.stat().st_size) != size:
        raise BundleError(
            f"the bundle {folder} is damaged: {name} has {found} bytes instead of {size}; {hint}"
        )
    if sha256(file) != digest:
        raise BundleError(f"the bundle {folder} is damaged: {name} has been altered; {hint}")


def _npy_shape(file: IO[bytes]) -> tuple[int, ...]:
    """Returns the shape in the header of a .npy file of float32, and reads up to the values.

    `np.load` allocates the size in the header before it compares it with the size of the file.
    """
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("its version is unknown")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    if fortran_order or dtype != np.float32:
        raise ValueError(f"it holds {dtype}, not float32 row by row")
    return shape
