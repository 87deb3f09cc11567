"""Writes packages of ONNX graphs as others publish them, from the weights of the oracle.

The network is NeMo's cache-aware encoder as its exporters trace it (caches of the attention's
inputs, two frames dropped, lengths masked), in torch; each dialect wraps it in the names, shapes,
types and metadata of its published packages and exports it with torch's tracing exporter, as they
did.
"""

import json
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from source_weights import Source
from torch import Tensor, nn
from torch.nn import functional as F

from wheatear.convert.quantize import BLOCK, quantize

DROPPED = 2
PAST_MEL = 9


@dataclass(frozen=True)
class Sizes:
    layers: int
    width: int
    heads: int
    taps: int
    bands: int
    hidden: int
    predictor_layers: int
    blank: int
    left: int
    chunk: int
    prompts: int

    @property
    def window(self) -> int:
        return PAST_MEL + 8 * self.chunk


def sizes_of(source: Source, chunk: int) -> Sizes:
    encoder, prednet = source.config["encoder"], source.config["decoder"]["prednet"]
    prompted = "prompt_kernel.0.weight" in source.tensors
    return Sizes(
        layers=encoder["n_layers"],
        width=encoder["d_model"],
        heads=encoder["n_heads"],
        taps=encoder["conv_kernel_size"] - 1,
        bands=encoder["feat_in"],
        hidden=prednet["pred_hidden"],
        predictor_layers=prednet["pred_rnn_layers"],
        blank=len(source.vocabulary.pieces),
        left=encoder["att_context_size"][0][0],
        chunk=chunk,
        prompts=source.config["model_defaults"]["num_prompts"] if prompted else 0,
    )


# -- the network ---------------------------------------------------------------------------------


class Network(nn.Module):
    """Weights by NeMo's names."""

    def __init__(self, source: Source, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        joint, encoder = source.config["joint"]["jointnet"], source.config["encoder"]
        self.activation = {"relu": F.relu, "tanh": torch.tanh}[joint["activation"]]
        self.scale = sizes.width**0.5 if encoder["xscaling"] else 1.0
        self.names = {name: f"p{n}" for n, name in enumerate(sorted(source.tensors))}
        for name, parameter in self.names.items():
            values = torch.tensor(source.tensors[name], dtype=torch.float32)
            self.register_parameter(parameter, nn.Parameter(values, requires_grad=False))
        self.lstm = nn.LSTM(sizes.hidden, sizes.hidden, sizes.predictor_layers)
        state = {
            name.rpartition(".")[2]: torch.tensor(values)
            for name, values in source.tensors.items()
            if ".lstm." in name
        }
        self.lstm.load_state_dict(state)
        self.requires_grad_(False)

    def w(self, name: str) -> Tensor:
        return getattr(self, self.names[name])

    def linear(self, name: str, x: Tensor) -> Tensor:
        weight = self.w(f"{name}.weight")
        bias = self.w(f"{name}.bias") if f"{name}.bias" in self.names else None
        return F.linear(x, weight.reshape(weight.shape[0], weight.shape[1]), bias)

    def norm(self, name: str, x: Tensor) -> Tensor:
        if f"{name}.running_mean" in self.names:
            parts = ("running_mean", "running_var", "weight", "bias")
            return F.batch_norm(
                x.transpose(1, 2), *(self.w(f"{name}.{p}") for p in parts)
            ).transpose(1, 2)
        return F.layer_norm(
            x, (self.sizes.width,), self.w(f"{name}.weight"), self.w(f"{name}.bias"), 1e-5
        )

    def encode(
        self, mel: Tensor, length: Tensor, channel: Tensor, time: Tensor, filled: Tensor
    ) -> tuple[Tensor, ...]:
        """mel [B, F, T], caches batch first -> frames [B, T, D], their count, the caches."""
        s = self.sizes
        x, length = self.subsample(mel.transpose(1, 2), length)
        x, length = x[:, DROPPED:], torch.clamp(length - DROPPED, min=0)
        frames = x.size(1)
        key = torch.arange(s.left + frames)
        visible = (key >= s.left - filled[:, None]) & (key < s.left + length[:, None])
        chunk = torch.div(key, s.chunk, rounding_mode="floor")
        behind = chunk[s.left :, None] - chunk[None, :]
        near = (behind >= 0) & (behind <= s.left // s.chunk)
        mask = visible[:, None, None, :] & near[None, None]
        alive = (torch.arange(frames)[None] < length[:, None])[..., None]
        channels, times = [], []
        for i in range(s.layers):
            name = f"encoder.layers.{i}"
            x = x + 0.5 * self.feed_forward(
                f"{name}.feed_forward1", f"{name}.norm_feed_forward1", x
            )
            y = self.norm(f"{name}.norm_self_att", x)
            both = torch.cat([channel[:, i], y], 1)
            channels.append(both[:, -s.left :])
            x = x + self.attend(f"{name}.self_attn", y, both, mask)
            y = self.norm(f"{name}.norm_conv", x)
            y, cache = self.convolve(f"{name}.conv", y, time[:, i], alive)
            times.append(cache)
            x = x + y
            x = x + 0.5 * self.feed_forward(
                f"{name}.feed_forward2", f"{name}.norm_feed_forward2", x
            )
            x = self.norm(f"{name}.norm_out", x)
        filled = torch.clamp(filled + frames, max=s.left)
        return x, length, torch.stack(channels, 1), torch.stack(times, 1), filled

    def subsample(self, x: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        def masked(x: Tensor) -> Tensor:
            rows = torch.arange(x.size(2))[None] < length[:, None]
            return x * rows[:, None, :, None]

        x = masked(x[:, None])
        for strided, pointwise in ((0, None), (2, 3), (5, 6)):
            name = f"encoder.pre_encode.conv.{strided}"
            weight = self.w(f"{name}.weight")
            groups = 1 if strided == 0 else weight.shape[0]
            x = F.pad(x, (2, 1, 2, 1))
            x = F.conv2d(x, weight, self.w(f"{name}.bias"), stride=2, groups=groups)
            length = torch.div(length, 2, rounding_mode="floor") + 1
            if pointwise is not None:
                name = f"encoder.pre_encode.conv.{pointwise}"
                x = F.conv2d(x, self.w(f"{name}.weight"), self.w(f"{name}.bias"))
            x = masked(F.relu(x))
        x = x.transpose(1, 2).flatten(2)
        return self.linear("encoder.pre_encode.out", x) * self.scale, length

    def feed_forward(self, name: str, norm: str, x: Tensor) -> Tensor:
        x = F.silu(self.linear(f"{name}.linear1", self.norm(norm, x)))
        return self.linear(f"{name}.linear2", x)

    def attend(self, name: str, x: Tensor, both: Tensor, mask: Tensor) -> Tensor:
        s = self.sizes
        frames, keys = x.size(1), both.size(1)

        def heads(y: Tensor) -> Tensor:
            return y.reshape(y.size(0), -1, s.heads, s.width // s.heads).transpose(1, 2)

        q = heads(self.linear(f"{name}.linear_q", x))
        k, v = (heads(self.linear(f"{name}.linear_{part}", both)) for part in "kv")
        behind = torch.arange(keys - 1, -keys, -1)
        rates = torch.exp(torch.arange(0, s.width, 2) * (-math.log(10000.0) / s.width))
        angles = behind[:, None] * rates
        table = torch.stack([torch.sin(angles), torch.cos(angles)], 2).flatten(1)
        p = heads(self.linear(f"{name}.linear_pos", table[None]))
        shared = "encoder" if "encoder.pos_bias_u" in self.names else name
        by_content = (q + self.w(f"{shared}.pos_bias_u")[:, None]) @ k.transpose(2, 3)
        by_position = (q + self.w(f"{shared}.pos_bias_v")[:, None]) @ p.transpose(2, 3)
        column = (frames - 1 - torch.arange(frames))[:, None] + torch.arange(keys)[None]
        column = column.expand(q.size(0), s.heads, frames, keys)
        scores = (by_content + by_position.gather(3, column)) / math.sqrt(s.width // s.heads)
        weights = torch.softmax(scores.masked_fill(~mask, -10000.0), -1).masked_fill(~mask, 0.0)
        y = (weights @ v).transpose(1, 2).flatten(2)
        return self.linear(f"{name}.linear_out", y)

    def convolve(self, name: str, x: Tensor, cache: Tensor, alive: Tensor) -> tuple[Tensor, Tensor]:
        x = F.glu(self.linear(f"{name}.pointwise_conv1", x), -1)
        x = x.masked_fill(~alive, 0.0).transpose(1, 2)  # [B, D, T]
        x = torch.cat([cache, x], 2)
        new = x[:, :, -self.sizes.taps :]
        depthwise = f"{name}.depthwise_conv"
        bias = self.w(f"{depthwise}.bias") if f"{depthwise}.bias" in self.names else None
        x = F.conv1d(x, self.w(f"{depthwise}.weight"), bias, groups=self.sizes.width)
        x = F.silu(self.norm(f"{name}.batch_norm", x.transpose(1, 2)))
        return self.linear(f"{name}.pointwise_conv2", x), new

    def prompted(self, x: Tensor, hot: Tensor) -> Tensor:
        """x [B, T, D], hot [B, prompts]."""
        hot = hot[:, None].expand(-1, x.size(1), -1)
        x = F.relu(self.linear("prompt_kernel.0", torch.cat([x, hot], -1)))
        return self.linear("prompt_kernel.2", x)

    def hot(self, prompt: Tensor) -> Tensor:
        return F.one_hot(prompt, self.sizes.prompts).to(torch.float32)

    def predict(self, targets: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """targets [B, U] -> [B, U, H] and the states."""
        x = F.embedding(targets, self.w("decoder.prediction.embed.weight"))
        y, (h, c) = self.lstm(x.transpose(0, 1), (h, c))
        return y.transpose(0, 1), h, c

    def join(self, frames: Tensor, predicted: Tensor) -> Tensor:
        """[B, T, D] and [B, U, H] -> [B, T, U, V + 1]."""
        x = self.linear("joint.enc", frames)[:, :, None]
        y = self.linear("joint.pred", predicted)[:, None]
        last = next(n for n in (2, 1) if f"joint.joint_net.{n}.weight" in self.names)
        return self.linear(f"joint.joint_net.{last}", self.activation(x + y))


class Wrapped(nn.Module):
    """A part of the network behind a dialect's signature."""

    def __init__(self, network: Network, call: Any) -> None:
        super().__init__()
        self.network, self.call = network, call

    def forward(self, *inputs: Tensor) -> Any:
        return self.call(self.network, *inputs)


def export(
    network: Network,
    call: Any,
    path: Path,
    inputs: dict[str, Tensor],
    outputs: list[str],
    *,
    opset: int,
    dynamic: dict[str, dict[int, str]] | None = None,
    metadata: dict[str, Any] | None = None,
    data: str | None = None,
) -> Path:
    """Traces, writes; `data` is the file that the weights go to."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Wrapped(network, call).eval(), tuple(inputs.values()), str(path),
            input_names=list(inputs), output_names=outputs, opset_version=opset,
            dynamic_axes=dynamic, dynamo=False,
        )  # fmt: skip
    model = onnx.load(path)
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=str(value))
    if data is None:
        onnx.save(model, path)
    else:
        onnx.save_model(
            model, path, save_as_external_data=True, all_tensors_to_one_file=True, location=data,
            size_threshold=0,
        )  # fmt: skip
    return path


def caches(s: Sizes, order: str = "batch") -> tuple[Tensor, Tensor]:
    channel, time = (
        torch.zeros(1, s.layers, s.left, s.width),
        torch.zeros(1, s.layers, s.width, s.taps),
    )
    if order == "layer":
        return channel.transpose(0, 1).contiguous(), time.transpose(0, 1).contiguous()
    return channel, time


def nemo_inputs(s: Sizes, mel: Tensor) -> dict[str, Tensor]:
    """Names by NeMo's exporter."""
    channel, time = caches(s)
    return {
        "audio_signal": mel,
        "length": torch.full((1,), s.window),
        "cache_last_channel": channel,
        "cache_last_time": time,
        "cache_last_channel_len": torch.zeros(1, dtype=torch.int64),
    }


def states(s: Sizes) -> tuple[Tensor, Tensor]:
    return torch.zeros(s.predictor_layers, 1, s.hidden), torch.zeros(
        s.predictor_layers, 1, s.hidden
    )


# -- sherpa-onnx ---------------------------------------------------------------------------------


def write_sherpa(folder: Path, source: Source, chunk: int, precision: str = "fp32") -> Path:
    s = sizes_of(source, chunk)
    network = Network(source, s)
    folder.mkdir(parents=True)
    inputs = nemo_inputs(s, torch.zeros(1, s.bands, s.window))
    if s.prompts:
        inputs["prompt_index"] = torch.zeros(1, dtype=torch.int64)

    def encoder(n: Network, mel: Tensor, length: Tensor, *rest: Tensor) -> Any:
        x, *others = n.encode(mel, length, *rest[:3])
        if s.prompts:
            x = n.prompted(x, n.hot(rest[3]))
        return x.transpose(1, 2), *others

    outputs = ["outputs", "encoded_lengths", "cache_last_channel_next", "cache_last_time_next"]
    outputs.append("cache_last_channel_next_len")
    dynamic = {name: {0: "batch"} for name in (*inputs, *outputs)}
    dynamic["audio_signal"][2] = dynamic["outputs"][2] = "time"
    for name in ("cache_last_channel", "cache_last_channel_next"):
        dynamic[name][2] = "cache_channel_time"
    for name in ("cache_last_time", "cache_last_time_next"):
        dynamic[name][3] = "cache_time_width"
    metadata = {
        "vocab_size": s.blank,
        "window_size": s.window,
        "chunk_size_ms": 80 * s.chunk,
        "chunk_shift": 8 * s.chunk,
        "normalize_type": "",
        "cache_last_channel_dim1": s.layers,
        "cache_last_channel_dim2": s.left,
        "cache_last_channel_dim3": s.width,
        "cache_last_time_dim1": s.layers,
        "cache_last_time_dim2": s.width,
        "cache_last_time_dim3": s.taps,
        "pred_rnn_layers": s.predictor_layers,
        "pred_hidden": s.hidden,
        "subsampling_factor": 8,
        "feat_dim": s.bands,
        "model_type": "EncDecRNNTBPEModelWithPrompt" if s.prompts else "EncDecRNNTBPEModel",
        "version": "1",
        "model_author": "NeMo",
        "comment": "Only the transducer branch is exported",
    }
    if s.prompts:
        prompts = source.config["model_defaults"]["prompt_dictionary"]
        metadata["prompt_dictionary"] = json.dumps(prompts, sort_keys=True)
        metadata["auto_prompt_id"] = prompts.get("auto", 0)
    export(
        network, encoder, folder / "encoder.onnx", inputs, outputs, opset=13, dynamic=dynamic,
        metadata=metadata, data="encoder.data",
    )  # fmt: skip
    _nemo_decoder(network, folder / "decoder.onnx")
    export(
        network,
        lambda n, x, y: n.join(x.transpose(1, 2), y.transpose(1, 2)),
        folder / "joiner.onnx",
        {
            "encoder_outputs": torch.zeros(1, s.width, 1),
            "decoder_outputs": torch.zeros(1, s.hidden, 1),
        },
        ["outputs"],
        opset=13,
        dynamic={
            "encoder_outputs": {0: "B", 2: "T"},
            "decoder_outputs": {0: "B", 2: "U"},
            "outputs": {0: "B", 1: "T", 2: "U"},
        },
    )
    lines = [f"{piece} {i}\n" for i, piece in enumerate(source.vocabulary.pieces)]
    (folder / "tokens.txt").write_text("".join(lines) + f"<blk> {s.blank}\n", encoding="utf-8")
    if precision == "int8":
        for part in ("encoder", "decoder", "joiner"):
            _dynamic_int8(folder / f"{part}.onnx", folder / f"{part}.int8.onnx", QuantType.QUInt8)
            (folder / f"{part}.onnx").unlink()
        (folder / "encoder.data").unlink()
    return folder


def _nemo_decoder(network: Network, path: Path) -> None:
    """Names of inputs and outputs by NeMo's exporter."""
    s = network.sizes
    h, c = states(s)

    def decoder(n: Network, targets: Tensor, count: Tensor, h: Tensor, c: Tensor) -> Any:
        y, h, c = n.predict(targets.long(), h, c)
        return y.transpose(1, 2), count + 0, h, c

    export(
        network, decoder, path,
        {
            "targets": torch.zeros(1, 1, dtype=torch.int32),
            "target_length": torch.ones(1, dtype=torch.int32),
            "states.1": h,
            "onnx::LSTM_3": c,
        },
        ["outputs", "prednet_lengths", "states", "states.5"],
        opset=13,
        dynamic={
            "targets": {0: "B", 1: "U"}, "target_length": {0: "B"}, "states.1": {1: "B"},
            "onnx::LSTM_3": {1: "B"}, "outputs": {0: "B", 2: "U"}, "prednet_lengths": {0: "B"},
            "states": {1: "B"}, "states.5": {1: "B"},
        },
    )  # fmt: skip


def _dynamic_int8(source: Path, target: Path, kind: QuantType, per_channel: bool = False) -> None:
    quantize_dynamic(
        source, target, weight_type=kind, per_channel=per_channel, op_types_to_quantize=["MatMul"]
    )


# -- parakeet-rs ---------------------------------------------------------------------------------


def write_parakeet(folder: Path, source: Source, chunk: int, *, declared: bool = True) -> Path:
    """declared: true if metadata and config.json declare the chunk, as newer ones do."""
    s = sizes_of(source, chunk)
    network = Network(source, s)
    folder.mkdir(parents=True)
    channel, time = caches(s, "layer")
    inputs = {
        "processed_signal": torch.zeros(1, s.bands, s.window),
        "processed_signal_length": torch.full((1,), s.window),
        "cache_last_channel": channel,
        "cache_last_time": time,
        "cache_last_channel_len": torch.zeros(1, dtype=torch.int64),
    }
    if s.prompts:
        inputs["prompt_index"] = torch.zeros(1, dtype=torch.int64)

    def encoder(n: Network, mel: Tensor, length: Tensor, *rest: Tensor) -> Any:
        channel, time = (cache.transpose(0, 1) for cache in rest[:2])
        x, count, channel, time, filled = n.encode(mel, length, channel, time, rest[2])
        if s.prompts:
            x = n.prompted(x, n.hot(rest[3]))
        return x.transpose(1, 2), count, channel.transpose(0, 1), time.transpose(0, 1), filled

    outputs = ["encoded", "encoded_len", "cache_last_channel_next", "cache_last_time_next"]
    outputs.append("cache_last_channel_len_next")
    dynamic = {
        "processed_signal": {0: "batch", 2: "time"},
        "processed_signal_length": {0: "batch"},
        "encoded": {0: "batch", 2: "time"},
        "encoded_len": {0: "batch"},
    }
    if s.prompts:
        dynamic["prompt_index"] = {0: "batch"}
    metadata = {"chunk_size_output_frames": s.chunk, "pre_encode_cache": PAST_MEL}
    export(
        network, encoder, folder / "encoder.onnx", inputs, outputs, opset=17, dynamic=dynamic,
        metadata=metadata if declared else None, data="encoder.onnx.data",
    )  # fmt: skip
    h, c = states(s)

    def decoder_joint(n: Network, x: Tensor, targets: Tensor, count: Tensor, *hc: Tensor) -> Any:
        y, h, c = n.predict(targets.long(), *hc)
        return n.join(x.transpose(1, 2), y), count + 0, h, c

    export(
        network, decoder_joint, folder / "decoder_joint.onnx",
        {
            "encoder_outputs": torch.zeros(1, s.width, 1),
            "targets": torch.zeros(1, 1, dtype=torch.int32),
            "target_length": torch.ones(1, dtype=torch.int32),
            "input_states_1": h,
            "input_states_2": c,
        },
        ["outputs", "prednet_lengths", "output_states_1", "output_states_2"],
        opset=17,
        dynamic={
            "encoder_outputs": {0: "B", 2: "T"}, "targets": {0: "B", 1: "U"},
            "target_length": {0: "B"}, "input_states_1": {1: "B"}, "input_states_2": {1: "B"},
            "outputs": {0: "B", 1: "T", 2: "U"}, "output_states_1": {1: "B"},
            "output_states_2": {1: "B"},
        },
    )  # fmt: skip
    (folder / "tokenizer.model").write_bytes(source.tokenizer)
    config = {
        "sample_rate": 16000,
        "n_mels": s.bands,
        "subsampling_factor": 8,
        "att_context_size": [s.left, s.chunk - 1],
        "left_context": s.left,
        "hidden_dim": s.width,
        "vocab_size": s.blank,
        "blank_id": s.blank,
        "pre_encode_cache": PAST_MEL,
    }
    if declared:
        config["chunk_size_output_frames"] = s.chunk
    if s.prompts:
        config["prompt_dictionary"] = source.config["model_defaults"]["prompt_dictionary"]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


# -- onnxruntime-genai ---------------------------------------------------------------------------


def write_genai(folder: Path, source: Source, chunk: int = 7, precision: str = "int4") -> Path:
    s = sizes_of(source, chunk)
    network = Network(source, s)
    folder.mkdir(parents=True)
    inputs = nemo_inputs(s, torch.zeros(1, s.window, s.bands))
    if s.prompts:
        inputs["lang_id"] = torch.zeros(1, dtype=torch.int64)

    def encoder(n: Network, mel: Tensor, length: Tensor, *rest: Tensor) -> Any:
        x, *others = n.encode(mel.transpose(1, 2), length, *rest[:3])
        if s.prompts:
            x = n.prompted(x, n.hot(rest[3]))
        return x, *others

    outputs = ["outputs", "encoded_lengths", "cache_last_channel_next", "cache_last_time_next"]
    outputs.append("cache_last_channel_len_next")
    path = folder / "encoder.onnx"
    export(network, encoder, path, inputs, outputs, opset=20)
    if precision == "int4":
        _four_bits(path)
    _move_weights(path, "encoder.onnx.data")
    h, c = states(s)

    def decoder(n: Network, targets: Tensor, h: Tensor, c: Tensor) -> Any:
        y, h, c = n.predict(targets, h, c)
        return y.transpose(1, 2), h, c

    export(
        network, decoder, folder / "decoder.onnx",
        {"targets": torch.zeros(1, 1, dtype=torch.int64), "h_in": h, "c_in": c},
        ["decoder_output", "h_out", "c_out"],
        opset=20,
        dynamic={
            "targets": {0: "batch"}, "h_in": {1: "batch"}, "c_in": {1: "batch"},
            "decoder_output": {0: "batch"}, "h_out": {1: "batch"}, "c_out": {1: "batch"},
        },
        data="decoder.onnx.data",
    )  # fmt: skip
    export(
        network, lambda n, x, y: n.join(x, y), folder / "joint.onnx",
        {
            "encoder_output": torch.zeros(1, 1, s.width),
            "decoder_output": torch.zeros(1, 1, s.hidden),
        },
        ["joint_output"],
        opset=20,
        dynamic={
            "encoder_output": {0: "batch", 1: "time"},
            "decoder_output": {0: "batch", 1: "target_len"},
            "joint_output": {0: "batch", 1: "time", 2: "target_len"},
        },
        data="joint.onnx.data",
    )  # fmt: skip
    if precision == "fp16":
        _half_ports(folder)
    _genai_files(folder, source, s)
    return folder


def _half_ports(folder: Path) -> None:
    """Inputs and outputs in 16 bits, as graphs in half precision have them."""
    for path in folder.glob("*.onnx"):
        model = onnx.load(path, load_external_data=False)
        graph, casts = model.graph, {}
        for value in (*graph.input, *graph.output):
            if value.type.tensor_type.elem_type == TensorProto.FLOAT:
                value.type.tensor_type.elem_type = TensorProto.FLOAT16
                casts[value.name] = f"{value.name}_wide"
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [casts.get(name, name) for name in names]
        for value in graph.input:
            if wide := casts.get(value.name):
                cast = helper.make_node("Cast", [value.name], [wide], to=TensorProto.FLOAT)
                graph.node.insert(0, cast)
        for value in graph.output:
            if wide := casts.get(value.name):
                cast = helper.make_node("Cast", [wide], [value.name], to=TensorProto.FLOAT16)
                graph.node.append(cast)
        onnx.save(model, path)


def _four_bits(path: Path) -> None:
    """Weights of products with constants in 4 bits, as MatMulNBits has them."""
    model = onnx.load(path)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "MatMul" or node.input[1] not in constants:
            continue
        weight = numpy_helper.to_array(constants[node.input[1]])  # [inputs, outputs]
        codes, scales = quantize(np.ascontiguousarray(weight.T), 4)
        name = node.input[1]
        for suffix, array in (("_q4", codes), ("_scales", scales.reshape(-1))):
            model.graph.initializer.append(numpy_helper.from_array(array, name + suffix))
        product = helper.make_node(
            "MatMulNBits", [node.input[0], f"{name}_q4", f"{name}_scales"], list(node.output),
            domain="com.microsoft", K=weight.shape[0], N=weight.shape[1], bits=4,
            block_size=BLOCK, accuracy_level=4,
        )  # fmt: skip
        node.CopyFrom(product)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)


def _move_weights(path: Path, data: str) -> None:
    model = onnx.load(path)
    onnx.save_model(
        model, path, save_as_external_data=True, all_tensors_to_one_file=True, location=data,
        size_threshold=0,
    )  # fmt: skip


def _genai_files(folder: Path, source: Source, s: Sizes) -> None:
    pieces = [*source.vocabulary.pieces, "<blank>"]
    (folder / "vocab.txt").write_text("".join(f"{p}\n" for p in pieces), encoding="utf-8")
    vocab = [[p, 0.0 if p in ("<unk>", "<blank>") else -float(i)] for i, p in enumerate(pieces)]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": 0, "content": "<unk>", "single_word": False, "lstrip": False,
                "rstrip": False, "normalized": False, "special": True,
            },
        ],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": {"type": "Unigram", "unk_id": 0, "vocab": vocab},
    }  # fmt: skip
    tokenizer_config = {
        "tokenizer_class": "T5Tokenizer",
        "unk_token": "<unk>",
        "model_max_length": 1024,
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
    }
    encoder_inputs = {
        "audio_features": "audio_signal",
        "input_lengths": "length",
        "cache_last_channel": "cache_last_channel",
        "cache_last_time": "cache_last_time",
        "cache_last_channel_len": "cache_last_channel_len",
    }
    if s.prompts:
        encoder_inputs["lang_id"] = "lang_id"
    config = {
        "model": {
            "type": "nemotron_speech",
            "vocab_size": s.blank + 1,
            "num_mels": s.bands,
            "fft_size": 512,
            "hop_length": 160,
            "win_length": 400,
            "preemph": 0.97,
            "log_eps": 5.96046448e-08,
            "subsampling_factor": 8,
            "left_context": s.left,
            "conv_context": s.taps,
            "pre_encode_cache_size": PAST_MEL,
            "sample_rate": 16000,
            "chunk_samples": 1280 * s.chunk,
            "blank_id": s.blank,
            "max_symbols_per_step": 10,
            "encoder": {
                "filename": "encoder.onnx",
                "hidden_size": s.width,
                "num_hidden_layers": s.layers,
                "inputs": encoder_inputs,
                "outputs": {
                    "encoder_outputs": "outputs",
                    "output_lengths": "encoded_lengths",
                    "cache_last_channel_next": "cache_last_channel_next",
                    "cache_last_time_next": "cache_last_time_next",
                    "cache_last_channel_len_next": "cache_last_channel_len_next",
                },
            },
            "decoder": {
                "filename": "decoder.onnx",
                "hidden_size": s.hidden,
                "num_hidden_layers": s.predictor_layers,
                "inputs": {
                    "targets": "targets",
                    "lstm_hidden_state": "h_in",
                    "lstm_cell_state": "c_in",
                },
                "outputs": {
                    "outputs": "decoder_output",
                    "lstm_hidden_state": "h_out",
                    "lstm_cell_state": "c_out",
                },
            },
            "joiner": {
                "filename": "joint.onnx",
                "inputs": {
                    "encoder_outputs": "encoder_output",
                    "decoder_outputs": "decoder_output",
                },
                "outputs": {"logits": "joint_output"},
            },
        },
    }
    for name, content in {
        "genai_config.json": config,
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": tokenizer_config,
    }.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


# -- soniqo --------------------------------------------------------------------------------------


def write_soniqo(folder: Path, source: Source, chunk: int = 4, precision: str = "int8") -> Path:
    s = sizes_of(source, chunk)
    network = Network(source, s)
    folder.mkdir(parents=True)
    channel, time = caches(s, "layer")
    inputs = {
        "audio_signal": torch.zeros(1, s.bands, 8 * s.chunk),
        "audio_length": torch.full((1,), 8 * s.chunk, dtype=torch.int32),
        "language_mask": torch.zeros(1, s.prompts),
        "pre_cache": torch.zeros(1, s.bands, PAST_MEL),
        "cache_last_channel": channel,
        "cache_last_time": time,
        "cache_last_channel_len": torch.zeros(1, dtype=torch.int32),
    }

    def encoder(
        n: Network, mel: Tensor, length: Tensor, hot: Tensor, past: Tensor, channel: Tensor,
        time: Tensor, filled: Tensor,
    ) -> Any:  # fmt: skip
        window = torch.cat([past, mel], 2)
        x, count, channel, time, filled = n.encode(
            window, length.long() + PAST_MEL, channel.transpose(0, 1), time.transpose(0, 1),
            filled.long(),
        )  # fmt: skip
        return (
            n.prompted(x, hot), count.int(), window[:, :, -PAST_MEL:], channel.transpose(0, 1),
            time.transpose(0, 1), filled.int(),
        )  # fmt: skip

    outputs = ["encoded_output", "encoded_length", "new_pre_cache", "new_cache_last_channel"]
    outputs += ["new_cache_last_time", "new_cache_last_channel_len"]
    path = folder / "encoder.onnx"
    export(network, encoder, path, inputs, outputs, opset=17)
    if precision == "int8":
        _dynamic_int8(path, folder / "quantised.onnx", QuantType.QInt8, per_channel=True)
        (folder / "quantised.onnx").replace(path)
    _move_weights(path, "encoder.onnx.data")
    h, c = states(s)

    def decoder(n: Network, token: Tensor, h: Tensor, c: Tensor) -> Any:
        return n.predict(token, h, c)

    export(
        network, decoder, folder / "decoder.onnx",
        {"token": torch.zeros(1, 1, dtype=torch.int64), "h": h, "c": c},
        ["decoder_output", "h_new", "c_new"],
        opset=17, data="decoder.onnx.data",
    )  # fmt: skip
    export(
        network, lambda n, x, y: n.join(x, y), folder / "joint.onnx",
        {
            "encoder_output": torch.zeros(1, 1, s.width),
            "decoder_output": torch.zeros(1, 1, s.hidden),
        },
        ["logits"],
        opset=17, data="joint.onnx.data",
    )  # fmt: skip
    if precision == "fp16":
        _half_ports(folder)
    prompts = source.config["model_defaults"]["prompt_dictionary"]
    for name, content in {
        "vocab.json": {str(i): piece for i, piece in enumerate(source.vocabulary.pieces)},
        "languages.json": {
            "numPrompts": s.prompts,
            "autoSlot": prompts.get("auto", 0),
            "promptDictionary": prompts,
        },
        "config.json": {
            "sampleRate": 16000,
            "numMelBins": s.bands,
            "streaming": {"chunkMs": 80 * s.chunk, "melFrames": 8 * s.chunk},
        },
    }.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return folder
