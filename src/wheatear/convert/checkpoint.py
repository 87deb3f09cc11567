"""Opens a checkpoint, whatever its container: configuration, vocabulary, weights, licence texts.

Four are read: NVIDIA's `.nemo` (a tar, plain or gzipped), a folder in the layout of transformers
(`transformers.py`), NVIDIA's GGUF (`gguf.py`), and our own safetensors, one file with NeMo's
tensor names and a header entry `wheatear` holding as JSON

    format       1
    name         what the model is called
    config       the parts of NeMo's model_config.yaml that describe the architecture
    pieces       [[piece, score], ...] in id order
    licence      the licence text of the weights;  notice: attributions that go with them
"""

import base64
import gzip
import json
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

import yaml

from wheatear.bundle import LICENCE_FILE
from wheatear.convert.gguf import open_gguf
from wheatear.convert.pickled import read_state_dict
from wheatear.convert.tensors import Checkpoint, Weights, read_safetensors
from wheatear.convert.transformers import is_transformers, open_transformers
from wheatear.errors import CheckpointError
from wheatear.pieces import pieces_from_sentencepiece, pieces_from_texts

_LARGEST_CONFIG = 16 << 20


@contextmanager
def open_checkpoint(path: Path) -> Iterator[Checkpoint]:
    """Opens a checkpoint for as long as the block lasts; tensors are read on demand.

    Raises CheckpointError naming what is missing, damaged or unsafe.
    """
    if path.is_dir():
        with ExitStack() as stack:
            yield open_transformers(path, stack)
        return
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint file {path}")
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        head = file.read(512)
        file.seek(0)
        if head[:2] == b"\x1f\x8b":
            file = stack.enter_context(_decompressed(file, path))
            head = file.read(512)
            file.seek(0)
        if head[257:262] == b"ustar" or path.suffix == ".nemo":
            yield _open_nemo(file, path, stack)
        elif head[:4] == b"GGUF":
            yield open_gguf(path)
        elif head[8:9] == b"{":
            yield _open_safetensors(path, stack)
        else:
            raise CheckpointError(
                f"{path} is neither a .nemo checkpoint (a tar file) nor a safetensors or GGUF file"
            )


# -- .nemo ---------------------------------------------------------------------------------------


@contextmanager
def _decompressed(file: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    """A gzipped tar cannot be read in arbitrary order: unpack it to disk, not to memory."""
    with tempfile.TemporaryFile() as plain:
        try:
            with gzip.open(file) as stream:
                shutil.copyfileobj(stream, plain, 1 << 20)
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise CheckpointError(f"{path} is damaged: {error}") from error
        plain.seek(0)
        yield plain


def _open_nemo(file: IO[bytes], path: Path, stack: ExitStack) -> Checkpoint:
    try:
        archive = stack.enter_context(tarfile.open(fileobj=file, mode="r:"))
        members = {PurePosixPath(m.name).name: m for m in archive.getmembers() if m.isfile()}
    except (tarfile.TarError, ValueError) as error:
        raise CheckpointError(f"{path} is not a readable .nemo file: {error}") from error

    def member(name: str) -> Any:
        if name not in members:
            raise CheckpointError(f"{path} is incomplete: it has no {name}")
        return archive.extractfile(members[name])

    config = _parse_yaml(member("model_config.yaml").read(), path)
    section = config.get("tokenizer")
    named = section.get("model_path") if isinstance(section, dict) else None
    if isinstance(named, str) and named:
        tokenizer = named.removeprefix("nemo:")
    else:
        tokenizer = next((n for n in members if n.endswith("tokenizer.model")), "tokenizer.model")
    model = member(tokenizer).read()
    try:
        vocabulary = pieces_from_sentencepiece(model)
    except ValueError as error:
        raise CheckpointError(
            f"{path}: {tokenizer} is not a SentencePiece model: {error}"
        ) from error
    weights = stack.enter_context(member("model_weights.ckpt"))
    tensors = read_state_dict(weights, f"{path}: model_weights.ckpt")
    texts = {
        name: member(name).read().decode("utf-8", "replace")
        for name in members
        if LICENCE_FILE.fullmatch(name)
    }
    return Checkpoint(path.stem, config, vocabulary, Weights(tensors), texts, model)


class _Yaml(yaml.CSafeLoader):
    """YAML as NeMo means it: `no` is Norwegian, not false, and so are `on`, `off` and `yes`."""


_Yaml.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag != "tag:yaml.org,2002:bool"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def _parse_yaml(raw: bytes, path: Path) -> dict[str, Any]:
    if len(raw) > _LARGEST_CONFIG:
        raise CheckpointError(f"{path}: model_config.yaml has {len(raw):,} bytes; it is refused")
    try:
        # A few lines of aliases to aliases make a configuration of any size.
        aliases = any(isinstance(t, yaml.AliasToken) for t in yaml.scan(raw, yaml.CSafeLoader))
        config = None if aliases else yaml.load(raw, _Yaml)  # noqa: S506  (a safe loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: model_config.yaml cannot be read: {error}") from error
    if not isinstance(config, dict):
        what = "holds aliases, which are refused" if aliases else "is not a configuration"
        raise CheckpointError(f"{path}: model_config.yaml {what}")
    return config


# -- safetensors ---------------------------------------------------------------------------------


def _open_safetensors(path: Path, stack: ExitStack) -> Checkpoint:
    metadata, tensors = read_safetensors(path, stack)
    header = metadata.get("wheatear")
    if header is None and is_transformers(path.parent):
        return open_transformers(path.parent, stack)
    if header is None:
        raise CheckpointError(
            f"{path} is a safetensors file, but not one of Wheatear's: its header has no "
            f"'wheatear' entry with the configuration and the vocabulary, and there is no "
            f"config.json beside it that would make it a transformers checkpoint"
        )
    try:
        data = json.loads(header)
        version = data["format"]
        vocabulary = pieces_from_texts(
            [str(piece) for piece, _score in data["pieces"]],
            [float(score) for _piece, score in data["pieces"]],
        )
        texts = {"LICENSE": data.get("licence", ""), "NOTICE": data.get("notice", "")}
        texts = {name: str(text) for name, text in texts.items() if text}
        name, config = str(data.get("name") or path.stem), dict(data["config"])
        model = base64.b64decode(data["tokenizer"], validate=True) if "tokenizer" in data else None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: its 'wheatear' header is damaged: {error!r}") from error
    if version != 1:
        raise CheckpointError(f"{path} is of format {version!r}, this Wheatear reads format 1")
    return Checkpoint(name, config, vocabulary, Weights(tensors), texts, model)
