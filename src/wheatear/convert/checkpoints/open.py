"""Opens a checkpoint of any container: configuration, vocabulary, weights, license texts.

Four containers are read: NVIDIA's `.nemo` (a tar, plain or gzipped), a folder in the layout of
transformers (`transformers.py`), NVIDIA's GGUF (`gguf.py`), and Wheatear's own safetensors. The
last is one file with NeMo's tensor names and a header entry `wheatear`, which holds as JSON

    `format`       1
    `name`         name of the model
    `config`       the parts of NeMo's model_config.yaml that describe the architecture
    `pieces`       [[piece, score], ...] in id order
    `licence`      the license text of the weights
    `notice`       attributions that go with them
    `tokenizer`    the SentencePiece model in base64, if there is one
"""

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, cast

from wheatear.convert.checkpoints.gguf import open_gguf
from wheatear.convert.checkpoints.torch_pickle import read_state_dict
from wheatear.convert.checkpoints.transformers import is_transformers, open_transformers
from wheatear.convert.checkpoints.weights import Checkpoint, CheckpointWeights, read_safetensors
from wheatear.convert.checkpoints.yaml_config import LARGEST_YAML, read_yaml
from wheatear.errors import MALFORMED, CheckpointError
from wheatear.model.manifest import LICENSE_FILE
from wheatear.model.pieces import MAX_PIECES, pieces_from_sentencepiece, pieces_from_texts
from wheatear.model.size_limits import MAX_TEXT_BYTES, MAX_TOKENIZER_BYTES
from wheatear.model.tar_archive import (
    ArchiveError,
    Member,
    decompressed,
    list_members,
    member_window,
    read_member,
)

_MOST_TEXTS = 100


@contextmanager
def open_checkpoint(path: Path) -> Iterator[Checkpoint]:
    """Opens a checkpoint until the block ends; tensors are read on demand.

    Raises:
        CheckpointError: A part is missing, damaged or unsafe; the message names it.
    """
    with ExitStack() as stack:
        if path.is_dir():
            yield _checked(open_transformers(path, stack))
            return
        if not path.is_file():
            raise CheckpointError(f"there is no checkpoint file {path}")
        file = stack.enter_context(path.open("rb"))
        try:
            file = stack.enter_context(decompressed(file))
        except ArchiveError as error:
            raise CheckpointError(f"{path} is refused: {error}") from error
        head = file.read(512)
        file.seek(0)
        if head[257:262] == b"ustar" or path.suffix == ".nemo":
            yield _checked(_open_nemo(file, path))
        elif head[:4] == b"GGUF":
            yield _checked(open_gguf(path))
        elif head[8:9] == b"{":
            yield _checked(_open_safetensors(path, stack))
        else:
            raise CheckpointError(
                f"{path} is neither a .nemo checkpoint (a tar file) nor a safetensors or GGUF file"
            )


def _checked(checkpoint: Checkpoint) -> Checkpoint:
    """Raises CheckpointError for too many pieces or texts, and for texts with lone surrogates."""
    pieces, texts = checkpoint.vocabulary.pieces, checkpoint.texts
    if len(pieces) > MAX_PIECES or len(texts) > _MOST_TEXTS:
        raise CheckpointError(f"{checkpoint.name} is refused: it has {len(pieces):,} pieces")
    try:
        "".join((checkpoint.name, *pieces, *texts.values())).encode()
    except UnicodeEncodeError as error:
        raise CheckpointError(
            f"{checkpoint.name} is damaged: its vocabulary or its license has halves of characters"
        ) from error
    return checkpoint


# -- .nemo ---------------------------------------------------------------------------------------


def _open_nemo(file: IO[bytes], path: Path) -> Checkpoint:
    try:
        members = {member.name: member for member in list_members(file)}
    except ArchiveError as error:
        raise CheckpointError(f"{path} is not a readable .nemo file: {error}") from error

    def member(name: str) -> Member:
        if name not in members:
            raise CheckpointError(f"{path} is incomplete: it has no {name}")
        return members[name]

    def content(name: str, most: int) -> bytes:
        try:
            return read_member(file, member(name), most)
        except ArchiveError as error:
            raise CheckpointError(f"{path} is refused: {error}") from error

    config = read_yaml(content("model_config.yaml", LARGEST_YAML), f"{path}: model_config.yaml")
    section = config.get("tokenizer")
    named = section.get("model_path") if isinstance(section, dict) else None
    if isinstance(named, str) and named:
        tokenizer = named.removeprefix("nemo:")
    else:
        tokenizer = next((n for n in members if n.endswith("tokenizer.model")), "tokenizer.model")
    model = content(tokenizer, MAX_TOKENIZER_BYTES)
    try:
        vocabulary = pieces_from_sentencepiece(model)
    except ValueError as error:
        raise CheckpointError(
            f"{path}: {tokenizer} is not a SentencePiece model: {error}"
        ) from error
    weights = member_window(file, member("model_weights.ckpt"))
    tensors = read_state_dict(cast("IO[bytes]", weights), f"{path}: model_weights.ckpt")
    texts = {
        name: content(name, MAX_TEXT_BYTES).decode("utf-8", "replace")
        for name in members
        if LICENSE_FILE.fullmatch(name)
    }
    return Checkpoint(path.stem, config, vocabulary, CheckpointWeights(tensors), texts, model)


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
    except MALFORMED as error:
        raise CheckpointError(f"{path}: its 'wheatear' header is damaged: {error!r}") from error
    if version != 1:
        raise CheckpointError(f"{path} is of format {version!r}, this Wheatear reads format 1")
    return Checkpoint(name, config, vocabulary, CheckpointWeights(tensors), texts, model)
