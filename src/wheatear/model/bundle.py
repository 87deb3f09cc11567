"""A model on disk: a folder with a manifest, ONNX graphs, vocabulary, licence, and their hashes.

    manifest.json        architecture, latency modes, prompt dictionary, SHA-256 of every other file
    encoder.onnx         mel and caches -> projected frames           (+ encoder.weights)
    predictor.onnx       token and LSTM state -> projected prediction  (+ predictor.weights)
    joint.onnx           frame + prediction -> best token              (+ joint.weights)
    pieces.json          the vocabulary: pieces and scores in id order, ids that are not plain text
    languages.npy        one bias vector per prompt id (models with a language prompt)
    LICENSE*, NOTICE*    texts that came with the checkpoint

`wheatear.convert.pipeline` writes bundles; this room reads them and checks that nothing is missing,
damaged or from the future.
"""

import difflib
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from wheatear.audio.mel import SAMPLE_RATE, MelSettings
from wheatear.common.telemetry import cache_folder
from wheatear.errors import MALFORMED, BundleError, ModelNotFoundError
from wheatear.model.latency import LatencyMode
from wheatear.model.pieces import Pieces, checked_pieces
from wheatear.model.published import PUBLISHED, published_as
from wheatear.model.size_limits import (
    LARGEST,
    LARGEST_MANIFEST,
    LARGEST_MODEL,
    LARGEST_TEXT,
    LARGEST_VOCABULARY,
    MOST_FILES,
    MOST_MODES,
    MOST_PROMPTS,
    check_size,
    check_state,
)

FORMAT = 1
MANIFEST = "manifest.json"
ENCODER, PREDICTOR, JOINT = "encoder.onnx", "predictor.onnx", "joint.onnx"
PIECES, LANGUAGES = "pieces.json", "languages.npy"
SHIPPED = "wheatear-small"
Measure = Literal["probability", "entropy"]
MODELS_VARIABLE = "WHEATEAR_MODELS"
FILE_NAME = re.compile(r"[\w.+-]+")
_WIDEST_PROMPT = LARGEST["encoder.prompt"]
LICENCE_FILE = re.compile(r"(LICEN[CS]E|NOTICE)[\w.-]*", re.IGNORECASE)


# Fields of MelSettings -> their keys in a manifest.
_FEATURE_KEYS = {
    "n_mels": "bands", "n_fft": "fft", "win_length": "window", "hop_length": "hop",
    "preemphasis": "preemphasis",
}  # fmt: skip
_FEATURE_FIELDS = {key: name for name, key in _FEATURE_KEYS.items()}


@dataclass(frozen=True)
class EncoderShape:
    layers: int
    width: int
    heads: int
    kernel: int
    """Taps of the causal convolution; `kernel - 1` frames of it are cached."""
    left: int
    """Frames of keys and values that are cached."""
    longest_chunk: int
    """Frames of the longest chunk that the table of positions reaches."""

    @property
    def head_width(self) -> int:
        return self.width // self.heads


@dataclass(frozen=True)
class DecoderShape:
    layers: int
    hidden: int
    joint: int
    blank: int
    """Id of the blank, which is also the start token; the vocabulary is 0 .. blank - 1."""
    max_symbols: int
    """Most tokens in one frame, as in NeMo's greedy search."""


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says, minus the file hashes."""

    name: str
    precision: str
    source: str
    features: MelSettings
    encoder: EncoderShape
    decoder: DecoderShape
    modes: tuple[LatencyMode, ...]
    default_mode: LatencyMode
    prompts: dict[str, int] = field(default_factory=dict)
    """Locale -> prompt id, as the checkpoint has it; empty for a model without prompt."""
    tags: dict[int, str] = field(default_factory=dict)
    """Token id -> locale, of the pieces that are language tags."""
    delays_ms: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Latency -> how late the search emits a word's first and last token, where measured
    (`recipes.wheatear_small.word_delay`)."""
    confidence: tuple[float, float] = (1.0, 0.0)
    """Scale and shift of the log-odds of what the search measures, where they were calibrated
    (`recipes.wheatear_small.confidence`)."""
    confidence_measure: Measure = "probability"
    """What the search measures: the probability of what it said, or how little was open."""
    parameters: int = 0
    licence: str = ""
    """One line: which licence the weights are under, as far as the checkpoint says."""

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        data["features"] = {_FEATURE_KEYS[name]: n for name, n in data["features"].items()}
        return data

    def check(self) -> None:
        """Raises ValueError for numbers that cannot be those of a model."""
        f, e, d = self.features, self.encoder, self.decoder
        for part, sizes in (("features", f), ("encoder", e), ("decoder", d)):
            for size in fields(sizes):
                if size.type in ("int", int):
                    key = _FEATURE_KEYS.get(size.name, size.name)
                    check_size(f"{part}.{key}", getattr(sizes, size.name))
        for mode in self.modes:
            check_size("encoder.left", mode.left)
            check_size("encoder.longest_chunk", mode.chunk)
        check_state(e.layers, e.width, e.left, e.kernel)
        texts = (self.name, self.precision, self.source, self.licence, *self.tags.values())
        fits = {
            "the window is longer than the transform": f.win_length <= f.n_fft,
            "the frames are not 10 ms apart": f.hop_length == SAMPLE_RATE // 100,
            "the pre-emphasis is out of range": 0 <= f.preemphasis < 1,
            "the heads do not divide the width": e.width % e.heads == 0,
            "there are too many modes": len(self.modes) <= MOST_MODES,
            "there are too many prompts": len(self.prompts) <= MOST_PROMPTS,
            "a text is none": all(isinstance(text, str) for text in texts),
            "the number of parameters is none": type(self.parameters) is int
            and self.parameters >= 0,
            "the default mode is none of the modes": self.default_mode in self.modes,
            "a mode does not fit the encoder": all(
                mode.left % mode.chunk == 0
                and mode.left <= e.left
                and mode.chunk <= e.longest_chunk
                for mode in self.modes
            ),
            "a prompt id is not a number, or out of range": all(
                type(i) is int and 0 <= i < MOST_PROMPTS for i in self.prompts.values()
            ),
            "a delay is not in milliseconds": all(
                type(n) is int and 0 <= n <= 2000 for pair in self.delays_ms.values() for n in pair
            ),
            "the confidence is not calibrated by a rising line": (
                0 < self.confidence[0] < 100 and abs(self.confidence[1]) < 100
            ),
            "the measure of confidence is not known": self.confidence_measure in get_args(Measure),
            "a language tag is not a token": all(0 <= i < d.blank for i in self.tags),
        }
        for fault, fine in fits.items():
            if not fine:
                raise ValueError(fault)
        "".join((*texts, *self.prompts)).encode()  # raises a ValueError for halves of characters

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Manifest":
        values = dict(data)
        values["features"] = MelSettings(
            **{_FEATURE_FIELDS[key]: value for key, value in data["features"].items()}
        )
        values["encoder"] = EncoderShape(**data["encoder"])
        values["decoder"] = DecoderShape(**data["decoder"])
        values["modes"] = tuple(LatencyMode(**mode) for mode in data["modes"])
        values["default_mode"] = LatencyMode(**data["default_mode"])
        delays = data.get("delays_ms", {})
        values["delays_ms"] = {int(key): (value[0], value[1]) for key, value in delays.items()}
        scale, shift = data.get("confidence", (1.0, 0.0))
        values["confidence"] = (float(scale), float(shift))
        values["tags"] = {int(key): value for key, value in data["tags"].items()}
        return cls(**values)


@dataclass(frozen=True)
class Bundle:
    """A verified model folder."""

    path: Path
    manifest: Manifest
    sizes: Mapping[str, int]
    """Bytes of every file."""

    @cached_property
    def vocabulary(self) -> Pieces:
        try:
            data = json.loads(self._read(PIECES, LARGEST_VOCABULARY))
            return checked_pieces(data, self.manifest.decoder.blank)
        except (ValueError, TypeError, RecursionError) as error:
            if isinstance(error, BundleError):
                raise
            raise BundleError(f"{self.path / PIECES} is damaged: {error}") from error

    @cached_property
    def language_bias(self) -> NDArray[np.float32]:
        """What each prompt id adds before the prompt kernel's ReLU, [prompts, width]."""
        path, rows = self.path / LANGUAGES, max(self.manifest.prompts.values()) + 1
        try:
            with path.open("rb") as file:
                shape = _npy_shape(file)
                table = np.fromfile(file, np.float32)
        except ValueError as error:
            raise BundleError(f"{path} is damaged: {error}") from error
        if len(shape) != 2 or prod(shape) != table.size or not 0 < shape[1] <= _WIDEST_PROMPT:
            raise BundleError(f"{path} is damaged: it does not hold what its header says")
        if shape[0] < rows:
            raise BundleError(f"{path} does not fit the prompt dictionary")
        return table.reshape(shape)

    def notices(self) -> dict[str, str]:
        """Licence and notice texts by file name."""
        names = sorted(n for n in self.sizes if LICENCE_FILE.fullmatch(n))
        return {name: self._read(name, LARGEST_TEXT, errors="replace") for name in names}

    def _read(self, name: str, most: int, errors: str = "strict") -> str:
        return _read_text(self.path / name, most, errors)


def models_folder() -> Path:
    """Where named bundles of this user live: $WHEATEAR_MODELS or ~/.cache/wheatear/models."""
    if folder := os.environ.get(MODELS_VARIABLE):
        return Path(folder)
    return cache_folder() / "models"


def find_bundle(model: str | os.PathLike[str] | None) -> Path:
    """The folder of a bundle given by path, by name, or (None) the one shipped with Wheatear.

    Raises ModelNotFoundError with the names there are.
    """
    shipped = Path(str(files("wheatear") / "data" / "models"))
    if model is None:
        if not (shipped / SHIPPED / MANIFEST).is_file():
            raise ModelNotFoundError(
                f"the model that comes with Wheatear is not installed ({shipped / SHIPPED} is "
                f"missing); reinstall Wheatear or name a bundle"
            )
        return shipped / SHIPPED
    path = Path(model)
    if path.is_dir():
        return path
    if path.exists():
        raise ModelNotFoundError(
            f"{path} is a file, not a bundle folder; to make one run: "
            f"wheatear convert {path} {path.with_suffix('')}"
        )
    name = str(model)
    if os.sep not in name and not name.startswith("."):
        for folder in (models_folder(), shipped):
            if _is_model(folder / name):
                return folder / name
    if published := published_as(name):
        raise ModelNotFoundError(
            f"the model {name} is not here; to fetch it run: wheatear pull {name}  "
            f"(about {published.size / 1e9:.1f} GB, {published.licence.name}; looked in "
            f"{models_folder()})"
        )
    known = sorted({path.name for path in local_models()})
    raise ModelNotFoundError(
        f"no model {name!r}{_nearest(name, [*known, *PUBLISHED])}: neither a model folder nor one "
        f"of {', '.join(known) or 'none here'} (looked in {models_folder()}); 'wheatear pull' "
        f"fetches models, 'wheatear models' lists them, 'wheatear convert CHECKPOINT OUT' makes one"
    )


def _nearest(name: str, known: Sequence[str]) -> str:
    """A question after the names that are nearest to one, in brackets; empty if none is near."""
    close = difflib.get_close_matches(name.lower(), known, 2)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def local_models() -> list[Path]:
    """Folders of the models that can be used by name: this user's, then the shipped ones."""
    folders = (models_folder(), Path(str(files("wheatear") / "data" / "models")))
    return [path for folder in folders for path in sorted(folder.glob("*")) if _is_model(path)]


def _is_model(path: Path) -> bool:
    """A bundle, or a package of graphs; what is still being made has a hidden name."""
    return (
        not path.name.startswith(".")
        and path.is_dir()
        and ((path / MANIFEST).is_file() or any(path.glob("*.onnx")))
    )


def open_bundle(path: Path) -> Bundle:
    """Reads and verifies a bundle folder.

    Raises BundleError naming the file that is missing, of the wrong size or of the wrong hash.
    """
    manifest, expected = read_manifest(path)
    required = {ENCODER, PREDICTOR, JOINT, PIECES} | ({LANGUAGES} if manifest.prompts else set())
    if missing := required - expected.keys():
        raise BundleError(f"{path / MANIFEST} is damaged: it does not list {', '.join(missing)}")
    if unlisted := {file.name for file in path.glob("*.weights")} - expected.keys():
        raise BundleError(f"{path / MANIFEST} is damaged: it does not list {', '.join(unlisted)}")
    if sum(size for size, _ in expected.values()) > LARGEST_MODEL:
        raise BundleError(f"{path} is refused: it lists more than {LARGEST_MODEL >> 30} GB")
    for name, (size, digest) in expected.items():
        _verify(path, name, size, digest)
    return Bundle(path, manifest, {name: size for name, (size, _) in expected.items()})


def read_manifest(path: Path) -> tuple[Manifest, dict[str, tuple[int, str]]]:
    """What a bundle's manifest says, and the size and SHA-256 it lists for each file.

    Raises BundleError if there is none, or if it is damaged or from the future.
    """
    manifest_path = path / MANIFEST
    if not manifest_path.is_file():
        raise BundleError(f"{path} is not a bundle: it has no {MANIFEST}")
    try:
        data = json.loads(_read_text(manifest_path, LARGEST_MANIFEST))
        version, listed = data.pop("format"), data.pop("files")
        if version != FORMAT:
            raise BundleError(
                f"{path} is a bundle of format {version!r}, this Wheatear reads format {FORMAT}; "
                f"upgrade Wheatear or convert the checkpoint again"
            )
        manifest = Manifest.from_json(data)
        manifest.check()
        expected = {name: _entry(e) for name, e in listed.items()}
        if len(expected) > MOST_FILES:
            raise ValueError(f"it lists {len(expected):,} files")
    except MALFORMED as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{manifest_path} is damaged: {type(error).__name__}: {error}") from error
    return manifest, expected


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Seals a bundle folder: hashes every file in it and writes the manifest, last."""
    entries = {
        file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)}
        for file in sorted(path.iterdir())
        if file.is_file() and file.name != MANIFEST
    }
    data = {"format": FORMAT, **manifest.to_json(), "files": entries}
    text = json.dumps(data, ensure_ascii=False, indent=1) + "\n"
    (path / MANIFEST).write_text(text, encoding="utf-8")


def _verify(folder: Path, name: str, size: int, digest: str) -> None:
    again = "copy or convert the bundle again"
    if not FILE_NAME.fullmatch(name) or name == MANIFEST:
        raise BundleError(f"{folder / MANIFEST} is damaged: it lists the file name {name!r}")
    file = folder / name
    if not file.is_file():
        raise BundleError(f"the bundle {folder} is incomplete: {name} is missing; {again}")
    if (found := file.stat().st_size) != size:
        raise BundleError(
            f"the bundle {folder} is damaged: {name} has {found} bytes instead of {size}; {again}"
        )
    if sha256(file) != digest:
        raise BundleError(f"the bundle {folder} is damaged: {name} has been altered; {again}")


def _entry(listed: Any) -> tuple[int, str]:
    """Size and SHA-256 of a listed file."""
    size, digest = listed["bytes"], listed["sha256"]
    if type(size) is not int or size < 0 or not isinstance(digest, str):
        raise ValueError("the size or the hash of a file is none")
    return size, digest


def _read_text(path: Path, most: int, errors: str = "strict") -> str:
    if (size := path.stat().st_size) > most:
        raise BundleError(f"{path} is refused: it has {size:,} bytes, more than {most:,}")
    return path.read_text(encoding="utf-8", errors=errors)


def _npy_shape(file: IO[bytes]) -> tuple[int, ...]:
    """The shape of a table of float32 by the header of its file, which is read up to the values.

    `np.load` allocates what a header asks for before it looks how much there is.
    """
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("it is of an unknown version")
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    if by_columns or dtype != np.float32:
        raise ValueError(f"it holds {dtype}, not float32 row by row")
    return shape


def sha256(file: Path) -> str:
    """In hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
