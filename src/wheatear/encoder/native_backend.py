"""Encoder steps in C++ by the package wheatear-native, from the weights of the graph."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from wheatear.encoder.state import EncoderOutput, EncoderState, mel_window, valid_rows
from wheatear.model.bundle import ENCODER, Bundle
from wheatear.model.native_library import NativeWeights, Tensors
from wheatear.model.onnx_weights import read_initializers
from wheatear.model.size_limits import check_size


class NativeBackend:
    """Safe to use from many threads."""

    def __init__(self, native: Any, bundle: Bundle, threads: int, isa: str = "") -> None:
        """Reads the weights; `isa` is an instruction set, empty for the fastest.

        Raises KeyError or ValueError for a graph with other weights than the package can run.
        """
        self._native, self._bundle = native, bundle
        tensors = read_initializers(bundle.path / ENCODER)
        shape = encoder_shape(native, bundle, tensors)
        weights = EncoderWeights(native, tensors, shape).all()
        self._encoder = native.Encoder(shape, weights, threads, isa)

    def run(self, states: Sequence[EncoderState], frames: int, chunk: int) -> list[EncoderOutput]:
        """Encodes `frames` frames of each stream in chunks of `chunk` and advances the caches."""
        m = self._bundle.manifest
        sizes = (m.decoder.joint, m.encoder.width, m.encoder.width)
        outputs = [
            EncoderOutput(*(np.empty((frames, n), np.float32) for n in sizes)) for _ in states
        ]
        buffers = [
            self._native.StreamBuffers(
                keys_values=state.keys_values,
                conv=state.conv,
                next_conv=np.empty_like(state.conv),
                mel=mel_window(state, frames),
                valid1=valid_rows(state, frames, 1),
                valid2=valid_rows(state, frames, 2),
                language=None if state.language is None else state.language.bias,
                joint_input=out.joint_input,
                encoder_out=out.encoder_out,
                before_prompt=out.before_prompt,
                start=state.frames,
                left=state.mode.left,
            )
            for state, out in zip(states, outputs, strict=True)
        ]
        self._encoder.step(buffers, frames, chunk)
        for state, stream in zip(states, buffers, strict=True):
            state.conv = stream.next_conv
        return outputs


def encoder_shape(native: Any, bundle: Bundle, tensors: Tensors) -> Any:
    """Returns the sizes of an encoder; raises KeyError or ValueError for unknown weights."""
    m = bundle.manifest
    e = m.encoder
    first = "encoder.layers.0.feed_forward1.linear1"
    inner = tensors.get(f"{first}.codes")
    if inner is None:
        inner = tensors[f"{first}.weight"].T
    feed_forward = check_size("encoder.feed_forward", len(inner))
    prompt = bundle.language_bias.shape[1] if m.prompts else 0
    channels = len(tensors["encoder.pre_encode.conv.0.weight"])
    return native.EncoderShape(
        *(e.layers, e.width, e.heads, e.kernel, e.left, e.longest_chunk),
        *(m.features.n_mels, check_size("encoder.channels", channels)),
        *(feed_forward, prompt, m.decoder.joint),
    )


class EncoderWeights(NativeWeights):
    """The tensors of a graph in the order of the native encoder."""

    def __init__(self, native: Any, tensors: Tensors, shape: Any) -> None:
        super().__init__(native, tensors)
        self._shape = shape

    def all(self) -> list[Any]:
        """Returns all tensors. Raises ValueError if the graph has others than these."""
        weights = list(self._in_order())
        self.check_all_read()
        return weights

    def _in_order(self) -> Iterator[Any]:
        s, conv = self._shape, "encoder.pre_encode.conv"
        yield from self._depthwise(f"{conv}.0", s.channels, 3, 3)
        for depthwise, pointwise in ((2, 3), (5, 6)):
            yield from self._depthwise(f"{conv}.{depthwise}", s.channels, 3, 3)
            weight = self.tensor(f"{conv}.{pointwise}.weight", s.channels, s.channels, 1, 1)
            yield self.weight(weight.reshape(s.channels, s.channels).T)
            yield self.vector(f"{conv}.{pointwise}.bias")
        bands = s.bands
        for _ in range(3):
            bands = bands // 2 + 1
        yield from self.linear("encoder.pre_encode.out", s.channels * bands)
        for i in range(s.layers):
            yield from self._layer(f"encoder.layers.{i}")
        if s.prompt:
            yield from self.linear("prompt_kernel.0", s.width)
            yield from self.linear("prompt_kernel.2", s.prompt)
        yield from self.linear("joint.enc", s.width)

    def _layer(self, name: str) -> Iterator[Any]:
        width, attention, conv = self._shape.width, f"{name}.self_attn", f"{name}.conv"
        yield from self._feed_forward(name, 1)
        yield from self._norm(f"{name}.norm_self_att")
        yield from self.linear(f"{attention}.qkv", width)
        yield self.vector(f"{attention}.pos_bias_u")
        yield self.vector(f"{attention}.pos_bias_v")
        s = self._shape
        offsets = s.left + 2 * s.longest_chunk - 1
        positions = self.tensor(f"{attention}.positions", s.heads, width // s.heads, offsets)
        yield self.weight(positions.transpose(0, 2, 1).reshape(-1))
        yield from self.linear(f"{attention}.linear_out", width)
        yield from self._norm(f"{name}.norm_conv")
        yield from self.linear(f"{conv}.pointwise_conv1", width)
        yield from self._depthwise(f"{conv}.depthwise_conv", width, self._shape.kernel, 1)
        yield from self._folded_norm(f"{conv}.batch_norm")
        yield from self.linear(f"{conv}.pointwise_conv2", width)
        yield from self._feed_forward(name, 2)
        yield from self._norm(f"{name}.norm_out")

    def _feed_forward(self, name: str, number: int) -> Iterator[Any]:
        yield from self._norm(f"{name}.norm_feed_forward{number}")
        yield from self.linear(f"{name}.feed_forward{number}.linear1", self._shape.width)
        yield from self.linear(f"{name}.feed_forward{number}.linear2", self._shape.feed_forward)

    def _norm(self, name: str) -> Iterator[Any]:
        yield self.vector(f"{name}.weight")
        yield self.vector(f"{name}.bias")

    def _folded_norm(self, name: str) -> Iterator[Any]:
        """Yields nothing for a BatchNorm that is folded into the weights of its convolution."""
        yield self.vector(f"{name}.weight", optional=True)
        yield self.vector(f"{name}.bias", optional=True)

    def _depthwise(self, name: str, channels: int, *taps: int) -> Iterator[Any]:
        weight = self.tensor(f"{name}.weight", channels, 1, *taps)
        yield self.weight(weight.reshape(len(weight), -1).T.reshape(-1))
        yield self.vector(f"{name}.bias")
