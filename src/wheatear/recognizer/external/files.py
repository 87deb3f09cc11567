"""Files of external packages, as these exporters write them:

    onnxruntime-genai (onnx-community, Olive)   genai_config.json, vocab.txt
    sherpa-onnx                                 tokens.txt
    parakeet-rs                                 config.json, tokenizer.model, decoder_joint.onnx
    soniqo                                      config.json, languages.json, vocab.json

A file is read by its content, not by the exporter that wrote it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from wheatear.errors import MALFORMED, BundleError
from wheatear.model.manifest import MANIFEST, sha256
from wheatear.model.pieces import MAX_PIECES, Pieces, pieces_from_sentencepiece, pieces_from_texts
from wheatear.model.size_limits import MAX_JSON_BYTES, MAX_PROMPTS

RECORD = "wheatear.json"
_GENAI = "genai_config.json"
_BLANKS = ("<blk>", "<blank>", "<b>")
_PRECISION = re.compile(r"(?<![a-z0-9])(int4|int8|fp16|fp32)(?![0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class PackageFiles:
    folder: Path
    encoder: Path
    networks: tuple[Path, Path] | tuple[Path]
    """Predictor and joint, or the one graph that is both."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Content of config.json, or the model section of genai_config.json."""
    languages: Mapping[str, Any] = field(default_factory=dict)
    """Content of languages.json."""

    @property
    def precision(self) -> str:
        """Precision in the names of encoder or folder."""
        for name in (self.encoder.name, self.folder.name):
            if match := _PRECISION.search(name):
                return match[1].lower()
        return "as published"


def is_package(folder: Path) -> bool:
    """True if a folder has the files of a package."""
    return not (folder / MANIFEST).is_file() and find_files(folder) is not None


def find_files(folder: Path) -> PackageFiles | None:
    """Returns the graphs of a package; None if the folder is none."""
    if not folder.is_dir():
        return None
    languages = _json(folder, "languages.json")
    genai = _json(folder, _GENAI).get("model")
    if isinstance(genai, dict):
        encoder, decoder, joint = (
            _named(folder, genai, part) for part in ("encoder", "decoder", "joiner")
        )
        if encoder and decoder and joint:
            return PackageFiles(folder, encoder, (decoder, joint), genai, languages)
    encoder = _graph(folder, "encoder")
    if encoder is None:
        return None
    settings, kind = _json(folder, "config.json"), encoder.name.removeprefix("encoder")
    if both := _graph(folder, "decoder_joint", kind):
        return PackageFiles(folder, encoder, (both,), settings, languages)
    decoder = _graph(folder, "decoder", kind)
    joint = _graph(folder, "joiner", kind) or _graph(folder, "joint", kind)
    if decoder and joint:
        return PackageFiles(folder, encoder, (decoder, joint), settings, languages)
    return None


def _graph(folder: Path, part: str, kind: str = ".onnx") -> Path | None:
    """Returns the graph file of a part; prefers files that end in `kind` (.int8.onnx)."""
    for name in (f"{part}{kind}", f"{part}.onnx"):
        if (folder / name).is_file():
            return folder / name
    others = sorted(p for p in folder.glob(f"{part}.*.onnx") if p.is_file())
    return others[0] if others else None


def _named(folder: Path, config: Mapping[str, Any], part: str) -> Path | None:
    """Returns the graph that genai_config.json names for a part, if it exists."""
    section = config.get(part)
    name = section.get("filename") if isinstance(section, dict) else None
    if not isinstance(name, str) or Path(name).name != name:
        return None
    return folder / name if (folder / name).is_file() else None


# -- vocabulary ----------------------------------------------------------------------------------


def read_vocabulary(folder: Path, blank: int) -> Pieces:
    """Returns the pieces 0 .. blank - 1. Raises BundleError if no file has them."""
    readers = {
        "tokens.txt": _tokens,
        "vocab.txt": _lines,
        "vocab.json": _by_id,
        "tokenizer.model": lambda path: pieces_from_sentencepiece(path.read_bytes()),
        "tokenizer.json": _tokenizer,
    }
    for name, read in readers.items():
        path = folder / name
        if not path.is_file():
            continue
        try:
            if path.stat().st_size > MAX_JSON_BYTES:
                raise ValueError("it is too large")
            found = read(path)
        except MALFORMED as error:
            raise BundleError(f"{path} is damaged: {type(error).__name__}: {error}") from error
        if isinstance(found, list):
            if len(found) == blank + 1 and found[-1] in _BLANKS:
                found.pop()
            found = pieces_from_texts(found)
        try:
            "".join(found.pieces).encode()
        except UnicodeEncodeError as error:
            raise BundleError(f"{path} is damaged: a piece is half a character") from error
        if len(found.pieces) != blank:
            raise BundleError(
                f"{path} has {len(found.pieces)} pieces, but the graphs have {blank} and a blank"
            )
        return found
    raise BundleError(f"{folder} has no vocabulary: none of {', '.join(readers)}")


def _tokens(path: Path) -> list[str]:
    """Reads lines of `piece id`."""
    entries = {}
    # Not splitlines: a piece may be one of Unicode's line separators.
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line.strip("\r"):
            piece, _, number = line.rstrip("\r").rpartition(" ")
            entries[int(number)] = piece
    return _in_order(entries)


def _lines(path: Path) -> list[str]:
    """Reads one piece from each line."""
    lines = path.read_text(encoding="utf-8").split("\n")
    return [line.rstrip("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]


def _by_id(path: Path) -> list[str]:
    """Reads a JSON object from id to piece, or a list."""
    data = json.loads(path.read_bytes())
    if isinstance(data, list):
        return [str(piece) for piece in data]
    return _in_order({int(number): str(piece) for number, piece in data.items()})


def _tokenizer(path: Path) -> list[str]:
    table = json.loads(path.read_bytes())["model"]["vocab"]
    if isinstance(table, list):
        return [str(piece) for piece, _score in table]
    return _in_order({int(number): str(piece) for piece, number in table.items()})


def _in_order(entries: Mapping[int, str]) -> list[str]:
    if not entries or len(entries) > MAX_PIECES or entries.keys() != set(range(len(entries))):
        raise ValueError("its ids are not 0, 1, 2 ...")
    return [entries[i] for i in range(len(entries))]


# -- languages -----------------------------------------------------------------------------------


def read_prompts(package: PackageFiles, metadata: Mapping[str, str]) -> dict[str, int]:
    """Returns locale -> prompt id.

    Packages of onnxruntime-genai lack it, since their users pass plain ids. They are made from
    the only checkpoint with prompts, so they get its dictionary.

    Raises BundleError if the dictionary of the package is damaged.
    """
    automatic: Any = None
    if "prompt_dictionary" in metadata:  # sherpa-onnx
        try:
            found = json.loads(metadata["prompt_dictionary"])
        except (ValueError, RecursionError) as error:
            raise BundleError(
                f"{package.encoder} is damaged: its prompt dictionary cannot be read: {error}"
            ) from error
        automatic = metadata.get("auto_prompt_id")
    elif "promptDictionary" in package.languages:  # soniqo
        found = package.languages["promptDictionary"]
        automatic = package.languages.get("autoSlot")
    elif "prompt_dictionary" in package.settings:  # parakeet-rs
        found = package.settings["prompt_dictionary"]
    else:
        found = json.loads((files("wheatear.recognizer.external") / "prompts.json").read_bytes())
    try:
        prompts = {str(key): int(number) for key, number in found.items()}
        if automatic is not None:
            prompts.setdefault("auto", int(automatic))
    except MALFORMED as error:
        raise BundleError(f"{package.folder}: its prompt dictionary is damaged: {error}") from error
    if not 0 < len(prompts) <= MAX_PROMPTS or min(prompts.values()) < 0:
        raise BundleError(f"{package.folder}: its prompt dictionary is damaged")
    return prompts


# -- record of the download ----------------------------------------------------------------------


def write_record(folder: Path, origin: str, license: str) -> None:
    """Writes origin, license and hashes of a package into its folder."""
    entries = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != RECORD
    }
    record = {"origin": origin, "licence": license, "files": entries}
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def read_record(folder: Path, *, verify: bool = True) -> tuple[str, str]:
    """Returns origin and license of a package, empty if there is no record.

    Raises BundleError if the hash of a file differs from the record.
    """
    record = _json(folder, RECORD)
    listed = record.get("files", {}) if verify else {}
    if not isinstance(listed, dict):
        raise BundleError(f"{folder / RECORD} is damaged")
    for name, entry in listed.items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise BundleError(
                f"the package {folder} is incomplete: {name} is missing; pull it again"
            )
        if not isinstance(entry, dict) or sha256(path) != entry.get("sha256"):
            raise BundleError(
                f"the package {folder} is damaged: {name} has been altered; pull it again"
            )
    return str(record.get("origin", "")), str(record.get("licence", ""))


def _json(folder: Path, name: str) -> dict[str, Any]:
    """Reads a JSON object of the package; empty if it has no such file.

    Raises BundleError for other content.
    """
    path = folder / name
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_bytes()) if path.stat().st_size <= MAX_JSON_BYTES else None
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is damaged: {error}") from error
    if not isinstance(data, dict):
        raise BundleError(f"{path} is damaged: it is no JSON object")
    return data
