"""`manifest.json` of a bundle: the shape of the model, and size and SHA-256 of every other file."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from wheatear.audio.mel import SAMPLE_RATE, MelSettings
from wheatear.errors import MALFORMED, BundleError
from wheatear.model.latency import LatencyMode
from wheatear.model.size_limits import (
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    MAX_MODES,
    MAX_PROMPTS,
    check_size,
    check_state,
)

FORMAT = 1
MANIFEST = "manifest.json"
LICENSE_FILE = re.compile(r"(LICEN[CS]E|NOTICE)[\w.-]*", re.IGNORECASE)

ConfidenceMeasure = Literal["probability", "entropy"]
_FEATURE_KEYS = {
    "n_mels": "bands",
    "n_fft": "fft",
    "win_length": "window",
    "hop_length": "hop",
    "preemphasis": "preemphasis",
}
"""Fields of MelSettings -> their keys in a manifest."""
_FEATURE_FIELDS = {key: name for name, key in _FEATURE_KEYS.items()}

Digests = Mapping[str, tuple[int, str]]
"""File name -> size in bytes and SHA-256."""


@dataclass(frozen=True)
class EncoderShape:
    """Sizes of the FastConformer encoder."""

    layers: int
    width: int
    heads: int
    kernel: int
    """Taps of the causal convolution; `kernel - 1` frames are cached."""
    left: int
    """Cached frames of keys and values."""
    longest_chunk: int
    """Maximum chunk in frames, the reach of the table of relative positions."""

    @property
    def head_width(self) -> int:
        return self.width // self.heads


@dataclass(frozen=True)
class DecoderShape:
    """Sizes of the RNN-T predictor and joint."""

    layers: int
    hidden: int
    joint: int
    blank: int
    """Id of the blank, which is also the start token; the vocabulary is 0 .. blank - 1."""
    max_symbols: int
    """Maximum number of tokens in one frame, as in NeMo's greedy search."""


@dataclass(frozen=True)
class BundleManifest:
    """Content of `manifest.json`, without the list of files."""

    name: str
    precision: str
    source: str
    features: MelSettings
    encoder: EncoderShape
    decoder: DecoderShape
    modes: tuple[LatencyMode, ...]
    default_mode: LatencyMode
    prompts: dict[str, int] = field(default_factory=dict)
    """Locale -> prompt id, as in the checkpoint; empty for a model without a language prompt."""
    tags: dict[int, str] = field(default_factory=dict)
    """Token id -> locale, of the pieces that are language tags."""
    delays_ms: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Latency -> mean emission delay of the first and last token of a word, where measured
    (`recipes.wheatear_small.word_delay`)."""
    confidence: tuple[float, float] = (1.0, 0.0)
    """Scale and shift of the log-odds that calibrate confidence
    (`recipes.wheatear_small.confidence`)."""
    confidence_measure: ConfidenceMeasure = "probability"
    """Quantity behind the confidence of a token: its probability, or the entropy of the joint."""
    parameters: int = 0
    license: str = ""
    """First line of the license of the weights, if the checkpoint has one."""

    def to_json(self) -> dict[str, Any]:
        """Returns the fields under their names in the file."""
        data = asdict(self)
        data["features"] = {_FEATURE_KEYS[name]: n for name, n in data["features"].items()}
        data["licence"] = data.pop("license")
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "BundleManifest":
        """Returns the manifest; values of the wrong kind raise one of `MALFORMED`."""
        values = dict(data)
        if "licence" in values:
            values["license"] = values.pop("licence")
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

    def check(self) -> None:
        """Raises ValueError if the numbers cannot be those of a model."""
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
        texts = (self.name, self.precision, self.source, self.license, *self.tags.values())
        checks = {
            "the window is longer than the transform": f.win_length <= f.n_fft,
            "the frames are not 10 ms apart": f.hop_length == SAMPLE_RATE // 100,
            "the pre-emphasis is out of range": 0 <= f.preemphasis < 1,
            "the heads do not divide the width": e.width % e.heads == 0,
            "there are too many modes": len(self.modes) <= MAX_MODES,
            "there are too many prompts": len(self.prompts) <= MAX_PROMPTS,
            "a text is not a string": all(isinstance(text, str) for text in texts),
            "the number of parameters is not a whole number": type(self.parameters) is int
            and self.parameters >= 0,
            "the default mode is none of the modes": self.default_mode in self.modes,
            "a mode does not fit the encoder": all(
                mode.left % mode.chunk == 0
                and mode.left <= e.left
                and mode.chunk <= e.longest_chunk
                for mode in self.modes
            ),
            "a prompt id is not a number, or out of range": all(
                type(i) is int and 0 <= i < MAX_PROMPTS for i in self.prompts.values()
            ),
            "a delay is not in milliseconds": all(
                type(n) is int and 0 <= n <= 2000 for pair in self.delays_ms.values() for n in pair
            ),
            "the confidence is not calibrated by a rising line": (
                0 < self.confidence[0] < 100 and abs(self.confidence[1]) < 100
            ),
            "the measure of confidence is unknown": (
                self.confidence_measure in get_args(ConfidenceMeasure)
            ),
            "a language tag is not a token": all(0 <= i < d.blank for i in self.tags),
        }
        for fault, passed in checks.items():
            if not passed:
                raise ValueError(fault)
        "".join((*texts, *self.prompts)).encode()  # raises ValueError for lone surrogates


def read_manifest(folder: Path) -> tuple[BundleManifest, Digests]:
    """Reads and checks the manifest of a bundle folder.

    Returns:
        The manifest, and the size and SHA-256 that it lists for each file.

    Raises:
        BundleError: There is none, it is damaged, or its format is newer than this Wheatear.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST}")
    try:
        data = json.loads(read_limited(path, MAX_MANIFEST_BYTES))
        version, listed = data.pop("format"), data.pop("files")
        _check_format(folder, version)
        manifest = BundleManifest.from_json(data)
        manifest.check()
        digests = {name: _digest(entry) for name, entry in listed.items()}
        if len(digests) > MAX_FILES:
            raise ValueError(f"it lists {len(digests):,} files")
    except BundleError:
        raise
    except MALFORMED as error:
        raise BundleError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    return manifest, digests


def write_manifest(folder: Path, manifest: BundleManifest) -> None:
    """Hashes every file of a bundle folder and writes its manifest."""
    entries = {
        file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)}
        for file in sorted(folder.iterdir())
        if file.is_file() and file.name != MANIFEST
    }
    data = {"format": FORMAT, **manifest.to_json(), "files": entries}
    text = json.dumps(data, ensure_ascii=False, indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def _check_format(folder: Path, version: Any) -> None:
    if version != FORMAT:
        raise BundleError(
            f"{folder} is a bundle of format {version!r}, this Wheatear reads format {FORMAT}; "
            f"upgrade Wheatear or convert the checkpoint again"
        )


def _digest(entry: Any) -> tuple[int, str]:
    size, digest = entry["bytes"], entry["sha256"]
    if type(size) is not int or size < 0 or not isinstance(digest, str):
        raise ValueError("the size or the hash of a file is of the wrong type")
    return size, digest


def read_limited(path: Path, limit: int, errors: str = "strict") -> str:
    """Returns the text of a file of at most `limit` bytes. Raises BundleError for a larger one."""
    if (size := path.stat().st_size) > limit:
        raise BundleError(f"{path} is refused: it has {size:,} bytes, more than {limit:,}")
    return path.read_text(encoding="utf-8", errors=errors)


def sha256(file: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
