"""The same weights in other people's containers: the same tokens; a file that lies: an error."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest
from checkpoints import ORACLE, answers, language_of, speech
from hypothesis import given, settings
from hypothesis import strategies as st
from source_weights import read_source, rounded, write_gguf, write_own, write_transformers

import wheatear
from wheatear.convert import convert
from wheatear.convert.architecture import read_architecture
from wheatear.convert.checkpoints.open import open_checkpoint
from wheatear.errors import CheckpointError
from wheatear.model.pieces import pieces_from_sentencepiece


def loaded(checkpoint, out):
    convert(checkpoint, out, "fp32")
    return wheatear.load(out, threads=1)


def tokens(recognizer, model, latency_ms):
    language = language_of(recognizer, int(answers(model)["prompt_index"]))
    transcript = recognizer.transcribe(speech(model), language=language, latency_ms=latency_ms)
    return [token.id for token in transcript.tokens]


def architecture(path):
    with open_checkpoint(path) as checkpoint:
        return read_architecture(checkpoint)


# -- transformers --------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["tiny-en", "tiny-multi", "bytes"])
@pytest.mark.parametrize("shards", [1, 3])
def test_transformers_gives_nemos_tokens(tmp_path, model, shards):
    folder = write_transformers(tmp_path / "hf", read_source(model), shards=shards)
    recognizer = loaded(folder, tmp_path / "out")
    for mode in recognizer.bundle.manifest.modes:
        expected = answers(model)[f"tokens_R{mode.lookahead}"].tolist()
        assert tokens(recognizer, model, mode.latency_ms) == expected


@pytest.mark.parametrize("model", ["tiny-en", "tiny-multi", "bytes", "bias"])
def test_transformers_describes_the_same_architecture(tmp_path, model):
    folder = write_transformers(tmp_path / "hf", read_source(model))
    assert architecture(folder) == architecture(ORACLE / f"{model}.nemo")
    with open_checkpoint(folder) as theirs, open_checkpoint(ORACLE / f"{model}.nemo") as ours:
        assert theirs.vocabulary.pieces == ours.vocabulary.pieces
        assert theirs.vocabulary.bytes == ours.vocabulary.bytes
        assert theirs.name == "hf"


def test_transformers_in_bfloat16(tmp_path):
    source = read_source("tiny-multi")
    folder = write_transformers(tmp_path / "hf", source, dtype=ml_dtypes.bfloat16)
    coarse = {k: v.astype(ml_dtypes.bfloat16).astype(np.float32) for k, v in source.tensors.items()}
    ours = write_own(tmp_path / "x.safetensors", source, coarse, "x")
    expected = tokens(loaded(ours, tmp_path / "ours"), "tiny-multi", 320)
    assert tokens(loaded(folder, tmp_path / "theirs"), "tiny-multi", 320) == expected


def test_transformers_by_its_weights_file_and_with_a_sentencepiece_model(tmp_path):
    source = read_source("tiny-multi")
    folder = write_transformers(tmp_path / "hf", source)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(source.tokenizer)
    (folder / "LICENSE").write_text("Do as you like.\n")
    with open_checkpoint(folder / "model.safetensors") as checkpoint:
        assert checkpoint.vocabulary == source.vocabulary
        assert checkpoint.tokenizer == source.tokenizer
        assert checkpoint.texts == {"LICENSE": "Do as you like.\n"}


def test_a_unigram_tokenizer_keeps_its_scores(tmp_path):
    source = read_source("tiny-multi")
    folder = write_transformers(tmp_path / "hf", source)
    rewrite(
        folder / "tokenizer.json",
        lambda data: data["model"].update(
            type="Unigram",
            vocab=[[p, -0.5 * i] for i, p in enumerate(source.vocabulary.pieces)] + [["<s>", 0]],
        ),
    )
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.vocabulary.pieces == source.vocabulary.pieces
        assert checkpoint.vocabulary.scores[4] == -2


@pytest.mark.parametrize("model", ["tiny-en", "tiny-multi", "bytes"])
def test_transformers_reads_what_is_written_here_and_says_the_same(tmp_path, model):
    """That the layout is theirs.  It has no joint of another width than the predictor."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    source = read_source(model)
    width = source.config["decoder"]["prednet"]["pred_hidden"]
    for name in ("joint.enc.weight", "joint.enc.bias", "joint.pred.weight", "joint.pred.bias"):
        source.tensors[name] = source.tensors[name][:width]
    source.tensors["joint.joint_net.2.weight"] = source.tensors["joint.joint_net.2.weight"][
        :, :width
    ]
    folder = write_transformers(tmp_path / "hf", source, shards=2)
    theirs = transformers.AutoModelForRNNT.from_pretrained(folder)
    front_end = transformers.NemotronAsrStreamingFeatureExtractor(feature_size=128)
    features = front_end(speech(model), sampling_rate=16000, return_tensors="pt")
    prompt = int(answers(model)["prompt_index"])
    prompts = {} if prompt < 0 else {"prompt_ids": torch.tensor([prompt])}
    recognizer = loaded(folder, tmp_path / "out")
    for mode in recognizer.bundle.manifest.modes:
        said = theirs.generate(
            **features, num_lookahead_tokens=mode.lookahead, max_new_tokens=5000, **prompts
        )
        padding = (theirs.config.blank_token_id, theirs.config.pad_token_id)
        expected = [i for i in said.sequences[0].tolist() if i not in padding]
        ours = tokens(recognizer, model, mode.latency_ms)
        assert [i for i in ours if i not in padding] == expected


def rewrite(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def encoder(**changes):
    return lambda data: data["encoder_config"].update(changes)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", lambda d: d.update(model_type="whisper"), "type 'whisper'"),
        ("config.json", lambda d: d.pop("blank_token_id"), "blank_token_id"),
        ("config.json", lambda d: d.update(blank_token_id=10**12), "blank 1000000000000"),
        ("config.json", lambda d: d.update(blank_token_id=10**12, vocab_size=10**12 + 1), "blank"),
        ("config.json", lambda d: d.update(blank_token_id=95, vocab_size=96), "97 outputs"),
        ("config.json", lambda d: d.update(encoder_config=[]), "TypeError|AttributeError"),
        ("config.json", lambda d: d.update(num_decoder_layers=7), "no tensor"),
        ("config.json", encoder(hidden_act="relu"), "hidden_act"),
        ("config.json", encoder(hidden_size=0), "not a multiple of 0"),
        ("config.json", encoder(intermediate_size=100), "not a multiple"),
        ("config.json", encoder(subsampling_conv_stride=3), "stride 3"),
        ("config.json", encoder(sliding_window="wide"), "TypeError"),
        ("config.json", encoder(num_hidden_layers=1), "this architecture does not"),
        ("processor_config.json", lambda d: d.pop("prompt_dictionary"), "no prompt dictionary"),
        ("processor_config.json", lambda d: d.update(prompt_dictionary=5), "TypeError"),
        ("processor_config.json", lambda d: d.update(feature_extractor="x"), "AttributeError"),
        (
            "processor_config.json",
            lambda d: d["feature_extractor"].update(sampling_rate=8000),
            "sample_rate is 8000",
        ),
        (
            "processor_config.json",
            lambda d: d["feature_extractor"].update(mel_filters_dtype="bfloat16"),
            "mel_filters_dtype",
        ),
        ("tokenizer.json", lambda d: d["model"]["vocab"].pop("\u2581v"), "no token 11"),
        ("tokenizer.json", lambda d: d.pop("model"), "damaged"),
        ("tokenizer.json", lambda d: d["model"].update(vocab=[[1]]), "damaged"),
        ("tokenizer.json", lambda d: d["model"].update(vocab=7), "damaged"),
    ],
)
def test_transformers_settings_that_are_wrong(tmp_path, file, change, message):
    folder = write_transformers(tmp_path / "hf", read_source("tiny-multi"))
    rewrite(folder / file, change)
    with pytest.raises(CheckpointError, match=message):
        convert(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["config.json", "processor_config.json", "tokenizer.json", "model.safetensors"]
)
@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff" * 20, b"[" * 100_000])
def test_transformers_files_that_are_missing_or_damaged(tmp_path, name, content):
    folder = write_transformers(tmp_path / "hf", read_source("tiny-en"))
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        convert(folder, tmp_path / "out")


def index_of(folder):
    return folder / "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.update({"joint.head.bias": "../secret.safetensors"}), "names the file"),
        (lambda w: w.update({"joint.head.bias": "secret"}), "names the file"),
        (
            lambda w: w.update({"joint.head.bias": "none.safetensors"}),
            "none.safetensors is missing",
        ),
        (lambda w: w.update({"more": next(iter(w.values()))}), "no file has the tensor more"),
        (lambda w: w.clear(), "no weight_map"),
    ],
)
def test_indices_that_lie(tmp_path, change, message):
    folder = write_transformers(tmp_path / "hf", read_source("tiny-en"), shards=2)
    rewrite(index_of(folder), lambda data: change(data["weight_map"]))
    with pytest.raises(CheckpointError, match=message):
        convert(folder, tmp_path / "out")


def test_a_folder_that_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        convert(tmp_path, tmp_path / "out")


# -- safetensors ---------------------------------------------------------------------------------


def safetensors_file(path, entries, data=bytes(64)):
    header = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


def entry(start, end, shape=(8,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "entries",
    [
        {"a": entry(0, 32), "b": entry(16, 48)},  # overlapping
        {"a": entry(0, 32), "b": entry(48, 80)},  # past the end
        {"a": entry(0, 64, (16,)), "b": entry(64, 1 << 60, (1 << 58,))},
        {"a": entry(0, 64, (1 << 40, 1 << 40))},
        {"a": entry(32, 0)},
        {"a": entry(0, 64, (16,), "F4")},
        {"a": entry(0, 64, (8,))},  # more bytes than the shape has
    ],
)
def test_safetensors_headers_that_lie(tmp_path, entries):
    about = {"__metadata__": {"wheatear": "{}"}}
    path = safetensors_file(tmp_path / "x.safetensors", about | entries)
    with pytest.raises(CheckpointError, match="not a readable safetensors"):
        convert(path, tmp_path / "out")


def test_a_safetensors_file_cut_short(tmp_path):
    folder = write_transformers(tmp_path / "hf", read_source("tiny-en"))
    whole = (folder / "model.safetensors").read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 300, 9, 7):
        (folder / "model.safetensors").write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            convert(folder, tmp_path / "out")


# -- GGUF ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["tiny-en", "tiny-multi", "bytes"])
@pytest.mark.parametrize("layout", ["block_q8_0", "tensor_planar_v1"])
def test_gguf_gives_the_tokens_of_the_rounded_weights(tmp_path, model, layout):
    source = read_source(model)
    theirs = loaded(write_gguf(tmp_path / "x.gguf", source, layout), tmp_path / "theirs")
    ours = write_own(tmp_path / "x.safetensors", source, rounded(source), "x")
    ours = loaded(ours, tmp_path / "ours")
    assert theirs.bundle.manifest.name == "the model"
    assert theirs.latencies_ms == ours.latencies_ms
    for latency in ours.latencies_ms:
        assert tokens(theirs, model, latency) == tokens(ours, model, latency)


def test_gguf_holds_the_very_values_of_the_rounded_weights(tmp_path):
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


def test_gguf_without_a_sentencepiece_model(tmp_path):
    source = read_source("bytes")
    with open_checkpoint(write_gguf(tmp_path / "x.gguf", source, model=False)) as checkpoint:
        assert checkpoint.vocabulary.pieces == source.vocabulary.pieces
        assert checkpoint.vocabulary.bytes == source.vocabulary.bytes


def test_norwegian_in_gguf(tmp_path):
    """NVIDIA's converter reads `no` as YAML 1.1 has it, and writes False."""
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
def test_gguf_headers_that_lie(tmp_path, content, message):
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
def test_gguf_keys_that_are_wrong(tmp_path, whole_gguf, key, old, new, message):
    content = whole_gguf.read_bytes()
    place = content.index(old, content.index(key.encode()))
    path = tmp_path / "x.gguf"
    path.write_bytes(content[:place] + new + content[place + len(old) :])
    with pytest.raises(CheckpointError, match=message):
        convert(path, tmp_path / "out")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_gguf_header_is_refused_or_read(tmp_path_factory, whole_gguf, data):
    """Any byte changed, any end cut off: an error of ours, or a checkpoint."""
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


# -- SentencePiece -------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_damaged_sentencepiece_model_is_refused_or_read(data):
    content = bytearray(read_source("bytes").tokenizer[:6000])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) :]
    try:
        pieces = pieces_from_sentencepiece(bytes(content))
    except ValueError:
        return
    assert len(pieces.pieces) == len(pieces.scores) > 0


@pytest.mark.parametrize("model", ["tiny-en", "tiny-multi", "bytes", "batchnorm"])
def test_sentencepiece_models_are_read_as_the_library_reads_them(model):
    library = pytest.importorskip("sentencepiece")
    source = read_source(model)
    processor = library.SentencePieceProcessor()
    processor.LoadFromSerializedProto(source.tokenizer)
    ids = range(processor.GetPieceSize())
    pieces = source.vocabulary
    assert pieces.pieces == [processor.IdToPiece(i) for i in ids]
    assert pieces.scores == [processor.GetScore(i) for i in ids]
    assert pieces.unknown == [i for i in ids if processor.IsUnknown(i)]
    assert pieces.control == [i for i in ids if processor.IsControl(i)]
    assert pieces.bytes == [i for i in ids if processor.IsByte(i)]
