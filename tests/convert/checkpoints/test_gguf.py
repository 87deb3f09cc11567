"""NVIDIA's GGUF: exact values, the same tokens, rejection of damaged files."""

import struct

import numpy as np
import pytest
from checkpoints import ORACLE
from hypothesis import given, settings
from hypothesis import strategies as st
from source_weights import architecture, loaded, read_source, rounded, tokens, write_gguf, write_own

from wheatear.convert import convert
from wheatear.convert.architecture import read_architecture
from wheatear.convert.checkpoints.gguf import open_gguf
from wheatear.convert.checkpoints.open import open_checkpoint
from wheatear.errors import CheckpointError


@pytest.mark.parametrize("model", ["tiny-en", "tiny-multi", "bytes"])
@pytest.mark.parametrize("layout", ["block_q8_0", "tensor_planar_v1"])
def test_gguf_gives_the_tokens_of_the_rounded_weights(tmp_path, model, layout):
    source = read_source(model)
    theirs = loaded(write_gguf(tmp_path / "x.gguf", source, layout), tmp_path / "theirs")
    ours = write_own(tmp_path / "x.safetensors", source, rounded(source), "x")
    ours = loaded(ours, tmp_path / "ours")
    assert theirs.model.manifest.name == "the model"
    assert theirs.latencies_ms == ours.latencies_ms
    for latency in ours.latencies_ms:
        assert tokens(theirs, model, latency) == tokens(ours, model, latency)


def test_gguf_values_are_exactly_the_rounded_weights(tmp_path):
    source = read_source("tiny-multi")
    expected = rounded(source)
    with open_checkpoint(write_gguf(tmp_path / "x.gguf", source)) as checkpoint:
        weights = checkpoint.weights
        assert set(weights.names()) == expected.keys() - {"preprocessor.featurizer.window"}
        for name in weights.names():
            np.testing.assert_array_equal(weights.read(name), expected[name])


@pytest.mark.parametrize("model", ["tiny-en", "tiny-multi", "bytes"])
def test_gguf_describes_the_same_architecture(tmp_path, model):
    path = write_gguf(tmp_path / "x.gguf", read_source(model))
    assert architecture(path) == architecture(ORACLE / f"{model}.nemo")
    with open_checkpoint(path) as theirs, open_checkpoint(ORACLE / f"{model}.nemo") as ours:
        assert theirs.vocabulary == ours.vocabulary


def test_vocabulary_is_read_without_a_sentencepiece_model(tmp_path):
    source = read_source("bytes")
    with open_checkpoint(write_gguf(tmp_path / "x.gguf", source, model=False)) as checkpoint:
        assert checkpoint.vocabulary.pieces == source.vocabulary.pieces
        assert checkpoint.vocabulary.bytes == source.vocabulary.bytes


def test_false_in_the_prompts_is_norwegian(tmp_path):
    """NVIDIA's converter reads `no` as YAML 1.1 does, and writes False."""
    source = read_source("tiny-multi")
    source.config["model_defaults"]["prompt_dictionary"] = {False: 7, "auto": 101}
    assert architecture(write_gguf(tmp_path / "x.gguf", source)).prompts == {"no": 7, "auto": 101}


def gguf_file(keys=b"", key_count=0, tensors=b"", tensor_count=0, data=b"", version=3):
    head = b"GGUF" + struct.pack("<IQQ", version, tensor_count, key_count) + keys + tensors
    return head + bytes(-len(head) % 32) + data


def text(value):
    return struct.pack("<Q", len(value)) + value


def tensor(name=b"a", shape=(32,), kind=0, start=0):
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, start)


DATA = bytes(256)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"GGUF", "cut short"),
        (gguf_file(version=1), "version 1"),
        (gguf_file(version=0x03000000), "version"),  # big-endian
        (gguf_file(key_count=1 << 62), "claims to have .* keys"),
        (gguf_file(tensor_count=1 << 62), "claims to have .* tensors"),
        (gguf_file(key_count=1), "cut short"),
        (gguf_file(struct.pack("<Q", 1 << 60), 1), "bytes in a text"),
        (gguf_file(struct.pack("<Q", 1 << 20), 1), "cut short"),
        (gguf_file(text(b"\xff\xfe") + struct.pack("<IB", 0, 0), 1), "not UTF-8"),
        (gguf_file(text(b"a") + struct.pack("<I", 99), 1), "unknown type 99"),
        (gguf_file(text(b"a") + struct.pack("<IIQ", 9, 0, 1 << 60), 1), "claims to have .* items"),
        (gguf_file(text(b"a") + struct.pack("<IIQ", 9, 4, 1 << 19), 1), "cut short"),
        (gguf_file(text(b"a") + struct.pack("<IIQ", 9, 9, 1), 1), "arrays within"),
        (gguf_file((text(b"a") + struct.pack("<IB", 0, 0)) * 2, 2), "twice"),
        (gguf_file(tensors=tensor(shape=()), tensor_count=1, data=DATA), "0 axes"),
        (gguf_file(tensors=tensor(shape=(2,) * 5), tensor_count=1, data=DATA), "5 axes"),
        (gguf_file(tensors=tensor(shape=(0,)), tensor_count=1, data=DATA), "no whole blocks"),
        (gguf_file(tensors=tensor(shape=(33,), kind=8), tensor_count=1, data=DATA), "whole blocks"),
        (gguf_file(tensors=tensor(kind=12), tensor_count=1, data=DATA), "ggml's type 12"),
        (gguf_file(tensors=tensor(shape=(1 << 60,)), tensor_count=1, data=DATA), "past its end"),
        (
            gguf_file(tensors=tensor(shape=(1 << 40,) * 4), tensor_count=1, data=DATA),
            "past its end",
        ),
        (gguf_file(tensors=tensor(start=1 << 60), tensor_count=1, data=DATA), "past its end"),
        (gguf_file(tensors=tensor(start=5), tensor_count=1, data=DATA), "lie within"),
        (
            gguf_file(tensors=tensor() + tensor(b"b", start=64), tensor_count=2, data=DATA),
            "lie within",
        ),
        (
            gguf_file(tensors=tensor() + tensor(start=128), tensor_count=2, data=DATA),
            "tensor a twice",
        ),
        (
            gguf_file(text(b"general.alignment") + struct.pack("<II", 4, 48), 1),
            "alignment is 48",
        ),
        (
            gguf_file(text(b"general.alignment") + struct.pack("<II", 4, 0), 1),
            "alignment is 0",
        ),
        (gguf_file(), "architecture None"),
    ],
)
def test_damaged_header_is_rejected(tmp_path, content, message):
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        convert(path, tmp_path / "out")


@pytest.fixture(scope="module")
def whole_gguf(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "x.gguf", read_source("tiny-en"))


@pytest.mark.parametrize(
    ("key", "old", "new", "message"),
    [
        ("asr.head_type", b"rnnt", b"none", "head 'none'"),
        ("asr.encoder.d_model", b"\x40\0\0\0", b"\0\0\0\0", "not a multiple"),
        ("asr.encoder.d_ff", b"\0\x01\0\0", b"\x01\x01\0\0", "not a multiple"),
        ("asr.rnnt.blank_id", b"\x30\0\0\0", b"\x20\0\0\0", "not the last token"),
        ("asr.preprocessor.hann_periodic", b"\7\0\0\0\0", b"\7\0\0\0\1", "hann_periodic is True"),
        ("asr.encoder.att_context_style", b"chunked_limited", b"chunked_unlimit", "unlimit"),
        ("asr.tokenizer.spm_model", b"Cg", b"!!", "tokenizer is damaged"),
        ("asr.encoder.n_layers", b"asr.encoder.n_layers", b"asr.encoder.n_lawyer", "n_layers"),
    ],
)
def test_wrong_key_is_named(tmp_path, whole_gguf, key, old, new, message):
    content = whole_gguf.read_bytes()
    place = content.index(old, content.index(key.encode()))
    path = tmp_path / "x.gguf"
    path.write_bytes(content[:place] + new + content[place + len(old) :])
    with pytest.raises(CheckpointError, match=message):
        convert(path, tmp_path / "out")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_header_is_rejected_or_read(tmp_path_factory, whole_gguf, data):
    """Random bytes are changed and the end is cut off."""
    content = bytearray(whole_gguf.read_bytes())
    table = content.index(b"encoder.pos_enc.pe")  # its first entry
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, 4000) | st.integers(table - 8, table + 6000))
        content[place] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(1, len(content))) :]
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    path.write_bytes(content)
    try:
        with open_checkpoint(path) as checkpoint:
            arch = read_architecture(checkpoint)
            assert arch.blank == 48
            for name in checkpoint.weights.names()[:5]:
                checkpoint.weights.read(name)
    except CheckpointError:
        pass


def gguf_head(keys=b"", count=0, tensors=0):
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, count) + keys


@pytest.mark.parametrize(
    "data",
    [
        gguf_head(count=1 << 60),
        gguf_head(tensors=1 << 60),
        gguf_head(struct.pack("<Q", 1 << 62), 1),
        gguf_head(text(b"a") + struct.pack("<I", 9) + struct.pack("<IQ", 0, 1 << 60), 1),
        gguf_head(text(b"a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1), 1),
        gguf_head(text(b"a") + struct.pack("<IQ", 8, 1 << 40), 1),
        gguf_head(text(b"t") + struct.pack("<IQQIQ", 2, 1 << 40, 1 << 40, 0, 0), 0, 1),
        gguf_head(text(b"t") + struct.pack("<IQIQ", 1, 4, 0, (1 << 64) - 32), 0, 1),
        gguf_head(text(b"general.alignment") + struct.pack("<IQ", 10, 1 << 63), 1),
    ],
)
def test_false_sizes_are_rejected(tmp_path, data):
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    with pytest.raises(CheckpointError):
        open_gguf(path)


def test_arrays_are_limited_in_total(tmp_path):
    """Each array has a limit, and so has their sum."""
    array = struct.pack("<IIQ", 9, 0, 1 << 20) + bytes(1 << 20)
    keys = b"".join(text(b"%d" % n) + array for n in range(4))
    path = tmp_path / "x.gguf"
    path.write_bytes(gguf_head(keys, 4))
    with pytest.raises(CheckpointError, match="items in its arrays"):
        open_gguf(path)
