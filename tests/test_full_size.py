"""The published size, 0.6B, with random weights: converts within bounds, runs, stays exact.

Slow, and needs 4 GB of disk: run with `pytest -m slow`.
"""

import json
import resource
import subprocess
import sys

import numpy as np
import pytest

import wheatear
from wheatear.audio import sample_speech

LAYERS, WIDTH, HEADS, CHANNELS, HIDDEN, JOINT, PIECES, PROMPTS = (
    24,
    1024,
    8,
    256,
    640,
    640,
    13087,
    128,
)

pytestmark = pytest.mark.slow


def shapes():
    """Names and shapes of the state dict of Nemotron 3.5."""
    conv = "encoder.pre_encode.conv"
    yield f"{conv}.0.weight", (CHANNELS, 1, 3, 3)
    for depthwise, pointwise in ((2, 3), (5, 6)):
        yield f"{conv}.{depthwise}.weight", (CHANNELS, 1, 3, 3)
        yield f"{conv}.{pointwise}.weight", (CHANNELS, CHANNELS, 1, 1)
    for i in (0, 2, 3, 5, 6):
        yield f"{conv}.{i}.bias", (CHANNELS,)
    yield "encoder.pre_encode.out.weight", (WIDTH, CHANNELS * 17)
    yield "encoder.pre_encode.out.bias", (WIDTH,)
    for i in range(LAYERS):
        layer = f"encoder.layers.{i}"
        for norm in ("feed_forward1", "self_att", "conv", "feed_forward2", "out"):
            for part in ("weight", "bias"):
                yield f"{layer}.norm_{norm}.{part}", (WIDTH,)
        for k in (1, 2):
            yield f"{layer}.feed_forward{k}.linear1.weight", (4 * WIDTH, WIDTH)
            yield f"{layer}.feed_forward{k}.linear2.weight", (WIDTH, 4 * WIDTH)
        for part in ("q", "k", "v", "out", "pos"):
            yield f"{layer}.self_attn.linear_{part}.weight", (WIDTH, WIDTH)
        for part in ("u", "v"):
            yield f"{layer}.self_attn.pos_bias_{part}", (HEADS, WIDTH // HEADS)
        yield f"{layer}.conv.pointwise_conv1.weight", (2 * WIDTH, WIDTH, 1)
        yield f"{layer}.conv.depthwise_conv.weight", (WIDTH, 1, 9)
        yield f"{layer}.conv.pointwise_conv2.weight", (WIDTH, WIDTH, 1)
        for part in ("weight", "bias"):
            yield f"{layer}.conv.batch_norm.{part}", (WIDTH,)
    for index, (outputs, inputs) in {
        0: (2 * WIDTH, WIDTH + PROMPTS),
        2: (WIDTH, 2 * WIDTH),
    }.items():
        yield f"prompt_kernel.{index}.weight", (outputs, inputs)
        yield f"prompt_kernel.{index}.bias", (outputs,)
    yield "decoder.prediction.embed.weight", (PIECES + 1, HIDDEN)
    for i in range(2):
        for kind in ("ih", "hh"):
            yield f"decoder.prediction.dec_rnn.lstm.weight_{kind}_l{i}", (4 * HIDDEN, HIDDEN)
            yield f"decoder.prediction.dec_rnn.lstm.bias_{kind}_l{i}", (4 * HIDDEN,)
    yield "joint.pred.weight", (JOINT, HIDDEN)
    yield "joint.pred.bias", (JOINT,)
    yield "joint.enc.weight", (JOINT, WIDTH)
    yield "joint.enc.bias", (JOINT,)
    yield "joint.joint_net.2.weight", (PIECES + 1, JOINT)
    yield "joint.joint_net.2.bias", (PIECES + 1,)


def config():
    return {
        "preprocessor": {"features": 128, "window_size": 0.025, "normalize": "NA"},
        "encoder": {
            "feat_in": 128,
            "n_layers": LAYERS,
            "subsampling": "dw_striding",
            "subsampling_factor": 8,
            "causal_downsampling": True,
            "att_context_style": "chunked_limited",
            "d_model": WIDTH,
            "n_heads": HEADS,
            "ff_expansion_factor": 4,
            "att_context_size": [[56, 3], [56, 0], [56, 6], [56, 13]],
            "conv_kernel_size": 9,
            "conv_norm_type": "layer_norm",
            "conv_context_size": "causal",
            "xscaling": False,
        },
        "decoder": {"prednet": {"pred_hidden": HIDDEN, "pred_rnn_layers": 2}},
        "joint": {"jointnet": {"joint_hidden": JOINT, "activation": "relu"}},
        "model_defaults": {"prompt_dictionary": {"en-US": 0, "auto": 101}},
    }


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Written tensor by tensor: safetensors is a header and the values in a row."""
    path = tmp_path_factory.mktemp("full") / "full.safetensors"
    header = {
        "format": 1,
        "name": "full",
        "config": config(),
        "pieces": [["<unk>", 0.0], *([f"\u2581{i}", 0.0] for i in range(1, PIECES))],
    }
    entries, end = {"__metadata__": {"wheatear": json.dumps(header)}}, 0
    for name, shape in shapes():
        start, end = end, end + 4 * int(np.prod(shape))
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(entries).encode()
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes():
            values = rng.standard_normal(shape, np.float32)
            values *= 1 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1
            if "norm" in name and name.endswith("weight"):
                values += 1
            file.write(values.data)
    assert sum(int(np.prod(shape)) for _, shape in shapes()) == 637_997_088
    return path


@pytest.mark.parametrize(("precision", "encoder_gb"), [("int4", 0.45), ("int8", 0.75)])
def test_converts_within_bounds_and_runs(checkpoint, tmp_path, precision, encoder_gb):
    out = tmp_path / "bundle"
    command = [sys.executable, "-m", "wheatear", "convert", str(checkpoint), str(out)]
    subprocess.run([*command, "--precision", precision], check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # of the largest child yet
    assert peak * 1024 < 4 * 2**30
    assert (out / "encoder.weights").stat().st_size < encoder_gb * 1e9
    recognizer = wheatear.load(out, threads=2)
    assert recognizer.latencies_ms == (80, 160, 320, 560, 1120)
    stream = recognizer.stream(latency_ms=160)
    for block in np.array_split(sample_speech(), 11):
        stream.push(block)
    assert stream.finish() == recognizer.transcribe(sample_speech(), latency_ms=160)
