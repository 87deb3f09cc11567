"""Writes the predictor and the joint as two small ONNX graphs, batched over N rows.

predictor   token [N] int64, h and c [layers, N, hidden]
            -> prediction [N, joint] (the predictor's half of the joint), h_next, c_next
joint       projected [N, joint], prediction [N, joint]
            -> token [N] int64, the best output (blank is the last), and logits [N, outputs]

The LSTM is written as matrix products (torch's gate order i, f, g, o), not as ONNX's LSTM operator.
It is therefore quantized and batched like the other layers.
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto

from wheatear.convert.architecture import Architecture
from wheatear.convert.checkpoints.weights import CheckpointWeights
from wheatear.convert.graphs.writer import GraphWriter
from wheatear.convert.quantize import QuantizationRecipe

INT64 = TensorProto.INT64


def write_predictor(
    path: Path, arch: Architecture, weights: CheckpointWeights, recipe: QuantizationRecipe
) -> None:
    """Writes `path` and its weights file; see the top of this file for inputs and outputs."""
    with GraphWriter(path) as g:
        token = g.input("token", ["N"], INT64)
        h = g.input("h", [arch.predictor_layers, "N", arch.hidden])
        c = g.input("c", [arch.predictor_layers, "N", arch.hidden])
        embedding = weights.read("decoder.prediction.embed.weight")
        if len(embedding) == arch.blank:  # blank_as_pad: false; the start token embeds as zeros
            embedding = np.concatenate([embedding, np.zeros_like(embedding[:1])])
        x = g.op("Gather", g.constant("embedding", embedding), token, axis=0)
        new_h, new_c = [], []
        for i in range(arch.predictor_layers):
            index = g.constant(f"layer{i}", np.array(i, np.int64))
            before = [g.op("Gather", state, index, axis=0) for state in (h, c)]
            x, cell = _lstm_cell(g, arch, weights, recipe, i, x, *before)
            new_h.append(g.op("Unsqueeze", x, g.integers(0)))
            new_c.append(g.op("Unsqueeze", cell, g.integers(0)))
        prediction = g.linear(
            "joint.pred",
            x,
            weights.read("joint.pred.weight", arch.joint, arch.hidden),
            weights.optional("joint.pred.bias", arch.joint),
            recipe.ends,
        )
        g.output("prediction", prediction, ["N", arch.joint])
        for name, parts in (("h_next", new_h), ("c_next", new_c)):
            state = g.op("Concat", *parts, axis=0)
            g.output(name, state, [arch.predictor_layers, "N", arch.hidden])


def _lstm_cell(
    g: GraphWriter,
    arch: Architecture,
    weights: CheckpointWeights,
    recipe: QuantizationRecipe,
    i: int,
    x: str,
    h: str,
    c: str,
) -> tuple[str, str]:
    """Writes one step of LSTM layer i on rows x [N, inputs]; returns the new h and c."""
    name = "decoder.prediction.dec_rnn.lstm"
    parts = [weights.read(f"{name}.weight_{kind}_l{i}") for kind in ("ih", "hh")]
    biases = [weights.read(f"{name}.bias_{kind}_l{i}", 4 * arch.hidden) for kind in ("ih", "hh")]
    both = np.concatenate(parts, axis=1)
    bias = biases[0] + biases[1]
    gates = g.linear(f"lstm{i}", g.op("Concat", x, h, axis=1), both, bias, recipe.ends)
    enter, forget, candidate, leave = g.ops("Split", gates, outs=4, axis=1, num_outputs=4)
    kept = g.op("Mul", g.op("Sigmoid", forget), c)
    added = g.op("Mul", g.op("Sigmoid", enter), g.op("Tanh", candidate))
    cell = g.op("Add", kept, added)
    return g.op("Mul", g.op("Sigmoid", leave), g.op("Tanh", cell)), cell


def write_joint(
    path: Path, arch: Architecture, weights: CheckpointWeights, recipe: QuantizationRecipe
) -> None:
    """Writes `path` and its weights file, as write_predictor."""
    with GraphWriter(path) as g:
        projected = g.input("projected", ["N", arch.joint])
        prediction = g.input("prediction", ["N", arch.joint])
        outputs = arch.blank + 1
        logits = g.linear(
            arch.output,
            g.op(arch.activation, g.op("Add", projected, prediction)),
            weights.read(f"{arch.output}.weight", outputs, arch.joint),
            weights.optional(f"{arch.output}.bias", outputs),
            recipe.ends,
        )
        g.output("token", g.op("ArgMax", logits, axis=1, keepdims=0), ["N"], INT64)
        g.output("logits", logits, ["N", outputs])
