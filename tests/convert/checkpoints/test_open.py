"""Reading checkpoints: every container, nothing executed, whatever is wrong said by name."""

import gzip
import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
from checkpoints import ORACLE, answers, speech
from safetensors import safe_open
from safetensors.numpy import save_file
from torch_files import (
    GOOD,
    Call,
    Global,
    Raw,
    changed,
    packed,
    tensor,
    torch_pickle,
    torch_zip,
    unpacked,
)

import wheatear
from wheatear.convert import convert
from wheatear.convert.architecture import read_architecture
from wheatear.convert.checkpoints.open import open_checkpoint
from wheatear.convert.checkpoints.torch_pickle import read_state_dict
from wheatear.errors import CheckpointError


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("FloatStorage", "<f4"),
        ("DoubleStorage", "<f8"),
        ("HalfStorage", "<f2"),
        ("LongStorage", "<i8"),
    ],
)
def test_tensors_of_every_kind(kind, dtype):
    values = np.arange(12).astype(dtype)
    state = {
        "plain": tensor(kind, "0", 12, (3, 4), (4, 1)),
        "transposed": tensor(kind, "0", 12, (4, 3), (1, 4)),
        "part": tensor(kind, "0", 12, (2,), (5,), 3),
        "scalar": tensor(kind, "0", 12, (), (), 7),
    }
    tensors = read_state_dict(torch_zip(torch_pickle(state), {"0": values.tobytes()}), "x")
    expected = values.reshape(3, 4).astype(np.float32)
    np.testing.assert_array_equal(tensors["plain"].read(), expected)
    np.testing.assert_array_equal(tensors["transposed"].read(), expected.T)
    np.testing.assert_array_equal(tensors["part"].read(), [3, 8])
    assert tensors["scalar"].read() == 7
    assert tensors["transposed"].shape == (4, 3)


def test_bfloat16():
    record = np.array([0x3F80, 0xC000], "<u2").tobytes()  # 1.0, -2.0
    state = {"state_dict": {"x": tensor("BFloat16Storage", "0", 2, (2,), (1,))}, "epoch": 3}
    tensors = read_state_dict(torch_zip(torch_pickle(state), {"0": record}), "x")
    np.testing.assert_array_equal(tensors["x"].read(), [1, -2])


class Harm:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Call("os", "system", "true"), "os.system"),
        (Call("builtins", "eval", "1"), "builtins.eval"),
        (Call("torch", "load", "x"), "torch.load"),
        (Call("torch._utils", "_rebuild_device_tensor_from_numpy", 1), "_rebuild_device_tensor"),
        (Global("torch.storage", "_load_from_bytes"), "torch.storage._load_from_bytes"),
        (Call("collections", "Counter"), "collections.Counter"),
    ],
)
def test_a_checkpoint_that_asks_to_run_code_is_refused(value, named):
    for content in (value, {"weight": value}, {"state_dict": {"weight": value}}):
        with pytest.raises(CheckpointError, match=named.replace(".", r"\.")):
            read_state_dict(torch_zip(torch_pickle(content)), "bad.ckpt")


def test_no_code_runs_on_the_way(tmp_path):
    proof = tmp_path / "proof"
    members = unpacked()
    members["model_weights.ckpt"] = torch_zip(pickle.dumps({"x": Harm(proof)})).read()
    with pytest.raises(CheckpointError, match=r"refused.*system.*only tensors"):
        convert(packed(tmp_path / "harm.nemo", members), tmp_path / "out")
    assert not proof.exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "bad",
    [
        tensor("FloatStorage", "0", 4, (5,), (1,)),  # longer than its record
        tensor("FloatStorage", "0", 4, (2,), (1,), 3),
        tensor("FloatStorage", "0", 4, (10**9, 10**9), (0, 0)),  # one value, spread over 4 EB
        tensor("FloatStorage", "1", 4, (2,), (1,)),  # no such record
        tensor("FloatStorage", "0", 4, (-2,), (1,)),
        tensor("FloatStorage", "0", 4, (2,), ()),
        Call("torch._utils", "_rebuild_tensor_v2", 1, 0, (1,), (1,)),
        Call("torch._utils", "_rebuild_parameter", 1, False, {}),
    ],
)
def test_malformed_tensors_are_refused(bad):
    record = {"0": np.zeros(4, "<f4").tobytes()}
    with pytest.raises(CheckpointError):
        read_state_dict(torch_zip(torch_pickle({"x": bad}), record), "bad.ckpt")


@pytest.mark.parametrize(
    "target",
    [
        GOOD,
        Global("torch._utils", "_rebuild_tensor_v2"),
        Global("torch._utils", "_rebuild_parameter"),
        Global("torch", "FloatStorage"),
    ],
)
@pytest.mark.parametrize(
    "state",
    [
        [("storage", "FloatStorage", "0", 4), 10**9, (4,), (1,)],
        {"offset": 10**9, "__doc__": "altered", "shape": (9,)},
        (None, {"offset": 10**9, "__doc__": "altered"}),
    ],
)
def test_what_was_built_cannot_be_altered(target, state):
    """Pickle's BUILD sets attributes behind the back of every check."""
    altered = Raw(target, state, pickle.BUILD)
    record = {"0": np.zeros(4, "<f4").tobytes()}
    with pytest.raises(CheckpointError):
        read_state_dict(torch_zip(torch_pickle({"x": altered, "y": GOOD}), record), "bad.ckpt")
    good = read_state_dict(torch_zip(torch_pickle({"y": GOOD}), record), "good.ckpt")
    assert good["y"].read().tolist() == [0, 0, 0, 0]


def test_attributes_of_a_state_dict_are_dropped():
    """torch hangs `_metadata` on its state dicts; another program might hang `items` on one."""
    attributes = {"_metadata": {}, "items": 5, "get": 5}
    made = Call("collections", "OrderedDict")
    state = Raw(made, pickle.MARK, "y", GOOD, pickle.SETITEMS, attributes, pickle.BUILD)
    record = {"0": np.ones(4, "<f4").tobytes()}
    tensors = read_state_dict(torch_zip(torch_pickle(state), record), "x")
    assert tensors["y"].read().tolist() == [1, 1, 1, 1]


def test_compressed_records_are_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", torch_pickle({"y": GOOD}))
        archive.writestr("archive/data/0", bytes(10**7))
    file.seek(0)
    with pytest.raises(CheckpointError, match="compressed"):
        read_state_dict(file, "bomb.ckpt")


def test_configurations_that_grow_are_refused(tmp_path):
    members = unpacked()
    members["model_config.yaml"] += b"a: &a [x, x]\nb: [*a, *a]\n"
    with pytest.raises(CheckpointError, match="aliases"):
        convert(packed(tmp_path / "x.nemo", members), tmp_path / "out")


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80", b"not a pickle", pickle.dumps([1]), pickle.dumps({}), b"\x80\x02c" * 9],
)
def test_pickles_that_are_no_state_dict(content):
    with pytest.raises(CheckpointError):
        read_state_dict(torch_zip(content), "bad.ckpt")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("subsampling: dw_striding", "subsampling: striding", "subsampling is 'striding'"),
        ("subsampling_factor: 8", "subsampling_factor: 4", "subsampling_factor is 4"),
        ("causal_downsampling: true", "causal_downsampling: false", "causal_downsampling"),
        ("self_attention_model: rel_pos", "self_attention_model: abs_pos", "abs_pos"),
        ("chunked_limited", "regular", "att_context_style is 'regular'"),
        ("conv_context_size: causal", "conv_context_size: null", "not causal"),
        ("n_heads: 4", "n_heads: 3", "does not divide"),
        ("n_heads: 4", "n_heads: many", "not a positive whole number"),
        ("d_model: 64", "d_model: 128", "d_model is 128, but .* 64 wide"),
        ("n_layers: 2", "n_layers: 3", r"no tensor encoder\.layers\.2"),
        ("n_layers: 2", "n_layers: 1", r"tensors that this architecture does not.*layers\.1"),
        ("normalize: NA", "normalize: per_feature", "cannot be streamed"),
        (
            "sample_rate: 16000\n  normalize",
            "sample_rate: 8000\n  normalize",
            "sample_rate is 8000",
        ),
        ("activation: relu", "activation: gelu", "gelu"),
        ("  att_context_style: chunked_limited\n", "", "att_context_style is 'regular'"),
        ("  causal_downsampling: true\n", "", "causal_downsampling is False"),
        ("window_size: 0.025", "window_size: 0.05", "does not fit"),
        ("window_size: 0.025", "window_size: 0.02", r"featurizer\.window is not"),
        ("window_size: 0.025", "window_size: wide", "not a number"),
        ("n_fft: 512", "n_fft: 1024", r"featurizer\.fb is not"),
        ("n_fft: 512", "n_fft: 1099511627776", "does not fit"),
        ("  log: true", "  log: true\n  log_zero_guard_value: 0.001", "guard_value is 0.001"),
        ("model_defaults:\n", "model_defaults: 7\nrest:\n", "no model_defaults"),
        ("pred_hidden: 32\n    pred_rnn", "pred_hidden: 48\n    pred_rnn", "has the shape"),
        ("prompt_dictionary:\n", "prompt_dictionary:\n    xx-XX: 500\n", "outside 0 .. 127"),
        ("encoder:\n", "encoder: 5\nsomething:\n", "has no encoder"),
        ("encoder:\n", "encoder: [\n", "cannot be read"),
    ],
)
def test_configurations_we_do_not_run_are_named(tmp_path, old, new, message):
    with pytest.raises(CheckpointError, match=message):
        convert(changed(tmp_path / "x.nemo", old, new), tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["x.nemo"]


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ("[[-1, -1]]", "unlimited"),
        ("[[56, 2]]", "not a whole number of 3-frame chunks"),
        ("[]", "att_context_size"),
        ("x", "att_context_size"),
        ("[[56]]", "att_context_size"),
    ],
)
def test_contexts_that_cannot_be_streamed(tmp_path, context, message):
    members = unpacked()
    lines = members["model_config.yaml"].decode().split("\n")
    start = lines.index("  att_context_size:")
    end = next(
        i
        for i in range(start + 1, len(lines))
        if not lines[i].startswith("  -") and not lines[i].startswith("    -")
    )
    lines[start:end] = [f"  att_context_size: {context}"]
    members["model_config.yaml"] = "\n".join(lines).encode()
    with pytest.raises(CheckpointError, match=message):
        convert(packed(tmp_path / "x.nemo", members), tmp_path / "out")


@pytest.mark.parametrize("member", ["model_config.yaml", "model_weights.ckpt"])
def test_incomplete_files_are_named(tmp_path, member):
    members = unpacked()
    del members[member]
    with pytest.raises(CheckpointError, match=f"has no {member}"):
        convert(packed(tmp_path / "x.nemo", members), tmp_path / "out")


def test_files_that_are_no_checkpoint(tmp_path):
    def refused(name, content, message):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            convert(path, tmp_path / "out")

    whole = (ORACLE / "tiny-multi.nemo").read_bytes()
    refused("empty.nemo", b"", "not a readable .nemo")
    refused("text.bin", b"hello" * 300, "neither a .nemo checkpoint")
    refused("short.nemo", whole[: len(whole) // 2], r"short\.nemo")
    refused("short.gz.nemo", gzip.compress(whole)[:9000], "damaged")
    refused("old.safetensors", b"\x02\0\0\0\0\0\0\0{}", "not one of Wheatear's")
    refused("bad.safetensors", b"\xff\xff\xff\xff\0\0\0\0{}", "not a readable safetensors")
    with pytest.raises(CheckpointError, match="no checkpoint file"):
        convert(tmp_path / "missing.nemo", tmp_path / "out")


def test_one_flipped_bit_in_the_weights_is_noticed(tmp_path):
    members = unpacked()
    weights = bytearray(members["model_weights.ckpt"])
    weights[len(weights) // 2] ^= 1
    members["model_weights.ckpt"] = bytes(weights)
    with pytest.raises(CheckpointError, match="damaged"):
        convert(packed(tmp_path / "x.nemo", members), tmp_path / "out")


def test_norwegian_is_a_language_and_not_false(tmp_path):
    """YAML 1.1 reads an unquoted `no` as false, as older checkpoints were written."""
    path = changed(tmp_path / "x.nemo", "'no': 7", "no: 7", model="prompt16")
    with open_checkpoint(path) as checkpoint:
        assert read_architecture(checkpoint).prompts["no"] == 7


def test_license_and_notice_travel_with_the_model(tmp_path):
    members = unpacked() | {"LICENSE.txt": b"Do as you like.\n", "NOTICE": b"By us."}
    convert(packed(tmp_path / "x.nemo", members), tmp_path / "out")
    bundle = wheatear.load(tmp_path / "out").bundle
    assert bundle.notices() == {"LICENSE.txt": "Do as you like.\n", "NOTICE": "By us."}
    assert bundle.manifest.license == "Do as you like."


def own_checkpoint(path, model="tiny-multi", **changes):
    """A checkpoint of the oracle in our own safetensors form."""
    with open_checkpoint(ORACLE / f"{model}.nemo") as source:
        vocabulary = source.vocabulary
        header = {
            "format": 1,
            "name": "mine",
            "config": source.config,
            "pieces": list(zip(vocabulary.pieces, vocabulary.scores, strict=True)),
            "licence": "CC0",
            "notice": "None.",
        } | changes
        tensors = {name: source.weights.read(name) for name in source.weights.unused()}
    save_file(tensors, path, metadata={"wheatear": json.dumps(header)})
    return path


def test_safetensors_of_our_own(tmp_path, recognizer_of):
    convert(own_checkpoint(tmp_path / "x.safetensors"), tmp_path / "out", "fp32")
    recognizer = wheatear.load(tmp_path / "out", threads=1)
    assert recognizer.bundle.manifest.name == "mine"
    assert recognizer.bundle.manifest.license == "CC0"
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
def test_safetensors_headers_that_are_wrong(tmp_path, changes, message):
    path = own_checkpoint(tmp_path / "x.safetensors", **changes)
    with pytest.raises(CheckpointError, match=message):
        convert(path, tmp_path / "out")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_weights_that_are_not_finite_are_named(tmp_path, value, precision):
    own_checkpoint(tmp_path / "x.safetensors")
    with safe_open(tmp_path / "x.safetensors", "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = file.metadata()
    name = "encoder.layers.1.norm_out.weight"
    tensors[name][3] = value
    save_file(tensors, tmp_path / "y.safetensors", metadata=header)
    with pytest.raises(CheckpointError, match=rf"{name} has values that are not finite"):
        convert(tmp_path / "y.safetensors", tmp_path / "out", precision)
    assert not (tmp_path / "out").exists()


def test_out_must_be_free(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="already exists"):
        convert(ORACLE / "tiny-en.nemo", tmp_path / "full")
    with pytest.raises(CheckpointError, match="fp32, int8, int4"):
        convert(ORACLE / "tiny-en.nemo", tmp_path / "new", "int3")
    convert(ORACLE / "tiny-en.nemo", tmp_path / "empty")
    assert (tmp_path / "empty" / "manifest.json").is_file()


def test_progress_runs_from_nothing_to_one(tmp_path):
    shares = []
    convert(ORACLE / "tiny-en.nemo", tmp_path / "out", progress=shares.append)
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.5
    assert shares[-1] == 1
