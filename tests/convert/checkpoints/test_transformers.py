"""Checkpoints in the layout of transformers: the same tokens, named faults."""

import json

import ml_dtypes
import numpy as np
import pytest
from checkpoints import ORACLE, answers, speech
from source_weights import architecture, loaded, read_source, tokens, write_own, write_transformers

from wheatear.convert import convert
from wheatear.convert.checkpoints.open import open_checkpoint
from wheatear.errors import CheckpointError


@pytest.mark.parametrize("model", ["tiny-en", "tiny-multi", "bytes"])
@pytest.mark.parametrize("shards", [1, 3])
def test_transformers_gives_nemos_tokens(tmp_path, model, shards):
    folder = write_transformers(tmp_path / "hf", read_source(model), shards=shards)
    recognizer = loaded(folder, tmp_path / "out")
    for mode in recognizer.model.manifest.modes:
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


def test_bfloat16_checkpoint_gives_the_tokens_of_its_values(tmp_path):
    source = read_source("tiny-multi")
    folder = write_transformers(tmp_path / "hf", source, dtype=ml_dtypes.bfloat16)
    coarse = {k: v.astype(ml_dtypes.bfloat16).astype(np.float32) for k, v in source.tensors.items()}
    ours = write_own(tmp_path / "x.safetensors", source, coarse, "x")
    expected = tokens(loaded(ours, tmp_path / "ours"), "tiny-multi", 320)
    assert tokens(loaded(folder, tmp_path / "theirs"), "tiny-multi", 320) == expected


def test_weights_file_opens_the_folder_with_its_sentencepiece_model(tmp_path):
    source = read_source("tiny-multi")
    folder = write_transformers(tmp_path / "hf", source)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(source.tokenizer)
    (folder / "LICENSE").write_text("Do as you like.\n")
    with open_checkpoint(folder / "model.safetensors") as checkpoint:
        assert checkpoint.vocabulary == source.vocabulary
        assert checkpoint.tokenizer == source.tokenizer
        assert checkpoint.texts == {"LICENSE": "Do as you like.\n"}


def test_unigram_tokenizer_keeps_its_scores(tmp_path):
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
def test_transformers_emits_the_same_tokens(tmp_path, model):
    """Its joint has the width of the predictor, so the tensors are cut to that."""
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
    for mode in recognizer.model.manifest.modes:
        generated = theirs.generate(
            **features, num_lookahead_tokens=mode.lookahead, max_new_tokens=5000, **prompts
        )
        padding = (theirs.config.blank_token_id, theirs.config.pad_token_id)
        expected = [i for i in generated.sequences[0].tolist() if i not in padding]
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
def test_wrong_setting_is_named(tmp_path, file, change, message):
    folder = write_transformers(tmp_path / "hf", read_source("tiny-multi"))
    rewrite(folder / file, change)
    with pytest.raises(CheckpointError, match=message):
        convert(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["config.json", "processor_config.json", "tokenizer.json", "model.safetensors"]
)
@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff" * 20, b"[" * 100_000])
def test_missing_or_damaged_file_is_named(tmp_path, name, content):
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
def test_wrong_index_is_rejected(tmp_path, change, message):
    folder = write_transformers(tmp_path / "hf", read_source("tiny-en"), shards=2)
    rewrite(index_of(folder), lambda data: change(data["weight_map"]))
    with pytest.raises(CheckpointError, match=message):
        convert(folder, tmp_path / "out")


def test_empty_folder_is_rejected(tmp_path):
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        convert(tmp_path, tmp_path / "out")
