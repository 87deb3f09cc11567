"""Reference implementation of the network in numpy, which bundles are compared with.

It computes a whole recording in float32 from the checkpoint, with the weights of one layer in
memory at a time. It follows the architecture and not the ONNX graphs: no cache, no folded weights,
absolute frame positions, NeMo's mask.
"""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from wheatear.common.arrays import Floats
from wheatear.convert.architecture import Architecture
from wheatear.convert.checkpoints.weights import CheckpointWeights
from wheatear.model.latency import LatencyMode


def encode(
    arch: Architecture,
    weights: CheckpointWeights,
    mel: Floats,
    mode: LatencyMode,
    prompt: int | None,
) -> Floats:
    """Encodes a whole recording.

    Args:
        arch: Architecture of the checkpoint.
        weights: Its tensors.
        mel: Mel frames [n, n_mels].
        mode: Attention context.
        prompt: Id of the language prompt; None skips the prompt kernel.

    Returns:
        Encoder output [frames, width], after the prompt kernel.
    """
    x = _subsampling(arch, weights, mel)
    mask = _visible(len(x), mode)
    positions = _sinusoids(len(x), arch.width)
    for i in range(arch.layers):
        x = _layer(arch, weights, f"encoder.layers.{i}", x, positions, mask)
    if arch.prompt_width and prompt is not None:
        hot = np.zeros((len(x), arch.prompt_width), np.float32)
        hot[:, prompt] = 1
        x = np.concatenate([x, hot], axis=1)
        x = np.maximum(weights.linear("prompt_kernel.0", x), 0)
        x = weights.linear("prompt_kernel.2", x)
    return x


def search(arch: Architecture, weights: CheckpointWeights, encoded: Floats) -> list[int]:
    """Returns the greedy RNN-T tokens for encoder output [frames, width]."""
    predictor = Predictor(arch, weights)
    prediction = predictor.step(arch.blank)
    output = weights.read(f"{arch.output}.weight"), weights.optional(f"{arch.output}.bias")
    activation = {
        "Relu": lambda x: np.maximum(x, 0),
        "Tanh": np.tanh,
        "Sigmoid": _sigmoid,
    }[arch.activation]
    tokens: list[int] = []
    for frame in weights.linear("joint.enc", encoded):
        for _ in range(arch.max_symbols):
            logits = output[0] @ activation(frame + prediction)
            best = int(np.argmax(logits if output[1] is None else logits + output[1]))
            if best == arch.blank:
                break
            tokens.append(best)
            prediction = predictor.step(best)
    return tokens


def _subsampling(arch: Architecture, weights: CheckpointWeights, mel: Floats) -> Floats:
    x = mel[None]  # [channels, time, bands]
    for strided, pointwise in ((0, None), (2, 3), (5, 6)):
        name = f"encoder.pre_encode.conv.{strided}"
        kernel, bias = weights.read(f"{name}.weight"), weights.read(f"{name}.bias")
        padded = np.pad(x, ((0, 0), (2, 1), (2, 1)))
        windows = sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
        windows = windows[:, : x.shape[1] // 2 + 1]
        # One input channel for the first convolution, one each for the depthwise ones.
        pattern = "cthij,ocij->oth" if strided == 0 else "cthij,coij->cth"
        x = np.einsum(pattern, windows, kernel, optimize=True) + bias[:, None, None]
        if pointwise is not None:
            name = f"encoder.pre_encode.conv.{pointwise}"
            mix = weights.read(f"{name}.weight")[:, :, 0, 0]
            x = np.tensordot(mix, x, 1) + weights.read(f"{name}.bias")[:, None, None]
        x = np.maximum(x, 0)
    flat = x.transpose(1, 0, 2).reshape(x.shape[1], -1)
    return weights.linear("encoder.pre_encode.out", flat) * np.float32(arch.input_scale)


def _visible(frames: int, mode: LatencyMode) -> NDArray[np.bool_]:
    """NeMo's chunked_limited mask [query, key], True where the key is visible."""
    chunk = np.arange(frames) // mode.chunk
    behind = chunk[:, None] - chunk[None, :]
    return (behind >= 0) & (behind <= mode.left // mode.chunk)


def _sinusoids(frames: int, width: int) -> Floats:
    """Positions [2 frames - 1, width] of keys 1 - frames .. frames - 1 frames before the query."""
    behind = np.arange(1 - frames, frames)
    angles = behind[:, None] * np.exp(np.arange(0, width, 2) * (-math.log(10000.0) / width))
    table = np.empty((len(behind), width), np.float32)
    table[:, 0::2], table[:, 1::2] = np.sin(angles), np.cos(angles)
    return table


def _layer(
    arch: Architecture,
    weights: CheckpointWeights,
    name: str,
    x: Floats,
    positions: Floats,
    mask: NDArray[np.bool_],
) -> Floats:
    def feed_forward(k: int, x: Floats) -> Floats:
        y = _norm(weights, f"{name}.norm_feed_forward{k}", x)
        y = _silu(weights.linear(f"{name}.feed_forward{k}.linear1", y))
        y = weights.linear(f"{name}.feed_forward{k}.linear2", y)
        y *= 0.5
        return x + y

    x = feed_forward(1, x)
    y = _norm(weights, f"{name}.norm_self_att", x)
    x = x + _attention(arch, weights, f"{name}.self_attn", y, positions, mask)
    y = _norm(weights, f"{name}.norm_conv", x)
    x = x + _convolution(arch, weights, f"{name}.conv", y)
    x = feed_forward(2, x)
    return _norm(weights, f"{name}.norm_out", x)


def _attention(
    arch: Architecture,
    weights: CheckpointWeights,
    name: str,
    x: Floats,
    positions: Floats,
    mask: NDArray[np.bool_],
) -> Floats:
    frames = len(x)

    def heads(y: Floats) -> Floats:
        return y.reshape(len(y), arch.heads, -1).transpose(1, 0, 2)  # [heads, n, head_width]

    q, k, v = (heads(weights.linear(f"{name}.linear_{part}", x)) for part in "qkv")
    p = heads(weights.linear(f"{name}.linear_pos", positions))
    source = "encoder" if "encoder.pos_bias_u" in weights else name
    by_content = q + weights.read(f"{source}.pos_bias_u")[:, None]
    by_position = q + weights.read(f"{source}.pos_bias_v")[:, None]
    behind = np.arange(frames)[:, None] - np.arange(frames)[None, :]
    position = np.take_along_axis(
        by_position @ p.transpose(0, 2, 1), (behind + frames - 1)[None], axis=2
    )
    scores = (by_content @ k.transpose(0, 2, 1) + position) / np.float32(math.sqrt(q.shape[2]))
    scores = np.where(mask, scores, -np.inf)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    y = (scores / scores.sum(-1, keepdims=True)) @ v
    return weights.linear(f"{name}.linear_out", y.transpose(1, 0, 2).reshape(frames, -1))


def _convolution(arch: Architecture, weights: CheckpointWeights, name: str, x: Floats) -> Floats:
    value, gate = np.split(weights.linear(f"{name}.pointwise_conv1", x), 2, axis=1)
    x = np.pad(value * _sigmoid(gate), ((arch.kernel - 1, 0), (0, 0)))
    kernel = weights.read(f"{name}.depthwise_conv.weight")[:, 0]
    x = np.einsum("tck,ck->tc", sliding_window_view(x, arch.kernel, axis=0), kernel)
    if (bias := weights.optional(f"{name}.depthwise_conv.bias")) is not None:
        x = x + bias
    norm = f"{name}.batch_norm"
    if arch.batch_norm:
        x = x - weights.read(f"{norm}.running_mean")
        x = x / np.sqrt(weights.read(f"{norm}.running_var") + 1e-5)
        x = x * weights.read(f"{norm}.weight") + weights.read(f"{norm}.bias")
    else:
        x = _norm(weights, norm, x)
    return weights.linear(f"{name}.pointwise_conv2", _silu(x))


class Predictor:
    """The LSTM and its projection, one token at a time."""

    def __init__(self, arch: Architecture, weights: CheckpointWeights) -> None:
        name = "decoder.prediction.dec_rnn.lstm"
        self._embedding = weights.read("decoder.prediction.embed.weight")
        self._layers = [
            tuple(
                weights.read(f"{name}.{kind}_l{i}")
                for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            for i in range(arch.predictor_layers)
        ]
        self._state = [(np.zeros(arch.hidden, np.float32),) * 2 for _ in self._layers]
        self._weights = weights

    def step(self, token: int) -> Floats:
        """Returns the predictor's half of the joint, [joint], after one more token."""
        rows = self._embedding
        x = rows[token] if token < len(rows) else np.zeros_like(rows[0])
        for i, (w_in, w_back, b_in, b_back) in enumerate(self._layers):
            h, c = self._state[i]
            enter, forget, candidate, leave = np.split(w_in @ x + b_in + w_back @ h + b_back, 4)
            c = _sigmoid(forget) * c + _sigmoid(enter) * np.tanh(candidate)
            x = _sigmoid(leave) * np.tanh(c)
            self._state[i] = (x, c)
        return self._weights.linear("joint.pred", x[None])[0]


def _norm(weights: CheckpointWeights, name: str, x: Floats) -> Floats:
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)
    return x * weights.read(f"{name}.weight") + weights.read(f"{name}.bias")


def _sigmoid(x: Floats) -> Floats:
    return np.float32(0.5) * np.tanh(x / 2) + np.float32(0.5)


def _silu(x: Floats) -> Floats:
    return x * _sigmoid(x)
