"""Opening checkpoints: .nemo archives, own safetensors, and files of other kinds."""

import gzip
import os
import pickle
import tarfile

import pytest
from checkpoints import ORACLE, answers, speech
from source_weights import (
    own_checkpoint,
)
from tar_files import header
from torch_files import (
    packed,
    torch_zip,
    unpacked,
)

import wheatear
from wheatear.convert import convert
from wheatear.errors import CheckpointError


class TouchFile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


def test_conversion_runs_no_code_of_the_checkpoint(tmp_path):
    proof = tmp_path / "proof"
    members = unpacked()
    members["model_weights.ckpt"] = torch_zip(pickle.dumps({"x": TouchFile(proof)})).read()
    with pytest.raises(CheckpointError, match=r"refused.*system.*only tensors"):
        convert(packed(tmp_path / "harm.nemo", members), tmp_path / "out")
    assert not proof.exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("member", ["model_config.yaml", "model_weights.ckpt"])
def test_missing_member_is_named(tmp_path, member):
    members = unpacked()
    del members[member]
    with pytest.raises(CheckpointError, match=f"has no {member}"):
        convert(packed(tmp_path / "x.nemo", members), tmp_path / "out")


def test_other_files_are_rejected(tmp_path):
    def assert_rejected(name, content, message):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            convert(path, tmp_path / "out")

    whole = (ORACLE / "tiny-multi.nemo").read_bytes()
    assert_rejected("empty.nemo", b"", "not a readable .nemo")
    assert_rejected("text.bin", b"hello" * 300, "neither a .nemo checkpoint")
    assert_rejected("short.nemo", whole[: len(whole) // 2], r"short\.nemo")
    assert_rejected("short.gz.nemo", gzip.compress(whole)[:9000], "damaged")
    assert_rejected("old.safetensors", b"\x02\0\0\0\0\0\0\0{}", "not one of Wheatear's")
    assert_rejected("bad.safetensors", b"\xff\xff\xff\xff\0\0\0\0{}", "not a readable safetensors")
    with pytest.raises(CheckpointError, match="no checkpoint file"):
        convert(tmp_path / "missing.nemo", tmp_path / "out")


def test_flipped_bit_in_the_weights_is_detected(tmp_path):
    members = unpacked()
    weights = bytearray(members["model_weights.ckpt"])
    weights[len(weights) // 2] ^= 1
    members["model_weights.ckpt"] = bytes(weights)
    with pytest.raises(CheckpointError, match="damaged"):
        convert(packed(tmp_path / "x.nemo", members), tmp_path / "out")


def test_own_safetensors_gives_the_same_transcript(tmp_path, recognizer_of):
    convert(own_checkpoint(tmp_path / "x.safetensors"), tmp_path / "out", "fp32")
    recognizer = wheatear.load(tmp_path / "out", threads=1)
    assert recognizer.model.manifest.name == "mine"
    assert recognizer.model.manifest.license == "CC0"
    transcript = recognizer.transcribe(speech("tiny-multi"), latency_ms=320)
    assert transcript == recognizer_of("tiny-multi").transcribe(
        speech("tiny-multi"), latency_ms=320
    )
    assert [t.id for t in transcript.tokens] == answers("tiny-multi")["tokens_R3"].tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 9}, "format 9"),
        ({"pieces": 3}, "header is damaged"),
        ({"pieces": []}, "outputs"),
    ],
)
def test_wrong_own_header_is_rejected(tmp_path, changes, message):
    path = own_checkpoint(tmp_path / "x.safetensors", **changes)
    with pytest.raises(CheckpointError, match=message):
        convert(path, tmp_path / "out")


def test_sparse_members_and_negative_sizes_are_rejected(tmp_path):
    path = tmp_path / "x.nemo"
    for data in (
        header("model_config.yaml", 0, b"S") + bytes(1024),
        header("a", -512) + bytes(1024),
        header("b", 0) + header("a", -1024) + bytes(1024),
        header("model_config.yaml", 1 << 50) + bytes(1024),
    ):
        for content in (data, gzip.compress(data)):
            path.write_bytes(content)
            with pytest.raises(CheckpointError, match="not a readable"):
                convert(path, tmp_path / "out")


def test_gzip_bomb_is_rejected(tmp_path):
    info = tarfile.TarInfo("model_config.yaml")
    info.size = 1 << 30
    path = tmp_path / "x.nemo"
    with gzip.open(path, "wb", 1) as file:
        file.write(info.tobuf())
        for _ in range(80):
            file.write(bytes(1 << 20))
    with pytest.raises(CheckpointError, match="50 times its size"):
        convert(path, tmp_path / "out")


TOKENIZER = next(name for name in unpacked() if name.endswith("tokenizer.model"))


@pytest.mark.parametrize("name", ["model_config.yaml", TOKENIZER, "LICENSE"])
def test_large_member_is_rejected(tmp_path, name):
    members = unpacked() | {name: b" " * ((16 << 20) + 1)}
    with pytest.raises(CheckpointError, match=f"its {name} has 16,777,217 bytes"):
        convert(packed(tmp_path / "x.nemo", members), tmp_path / "out")
