"""Writes the encoder as one ONNX graph from mel window and caches to frames and new caches.

One graph serves every latency, any batch and whole files. A *row* of the batch is a stream. The T
frames computed for it in one run are R/B chunks of c frames each; a live stream has one chunk.
Attention works on chunk rows [R, c]. Every chunk attends to the same number of cached frames in
the same (ring) order in both cases, so that both compute the same bits.

Inputs   mel        [B, 8T + 7, n_mels]  zeros before the start of the signal
         live1      [B, 4T + 3]          1 where a row of the first convolution's output exists
         live2      [B, 2T + 1]          the same for the second
         mask       [R, c | 1, left + c] 0 for a visible key, otherwise a large negative number
         offset     [R, c, left + c]     int64: column of the table of positions
         past       [R, left]            int64: place of each cached key of chunk row r in (cache,
                                         new frames); read only if R > B, then B must be 1
         language   [B, 2 width]         bias of the language prompt (models that have one)
         k<i> v<i>  [B, heads, left, head_width]     keys and values of layer i, a ring of frames
         c<i>       [B, kernel - 1, width]           inputs of the causal convolution
Outputs  projected  [B, T, joint]        the encoder's half of the joint
         encoded    [B, T, width]        after the prompt kernel
         hidden     [B, T, width]        before the prompt kernel
         kv         [2 layers, R, heads, c, head_width]  new keys and values: k0, v0, k1, ...
         conv       [layers, B, kernel - 1, width]

Unlike in NeMo, keys and values are cached after projection, and projected positions are a constant
table. Factors of one half in feed-forward sums and the attention's scale are folded into weights.
A BatchNorm is folded into the depthwise convolution, the one-hot prompt into a bias.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from onnx import TensorProto

from wheatear.common.arrays import Floats
from wheatear.convert.architecture import Architecture
from wheatear.convert.checkpoints.weights import CheckpointWeights
from wheatear.convert.graphs.writer import CONTRIB, GraphWriter, Shape, Subgraph
from wheatear.convert.quantize import QuantizationRecipe

INT64 = TensorProto.INT64
EPSILON = 1e-5
_TO_THE_END = 1 << 40


def write_encoder(
    path: Path,
    arch: Architecture,
    weights: CheckpointWeights,
    recipe: QuantizationRecipe,
    advance: Callable[[], None],
) -> None:
    """Writes `path` and its weights file; calls `advance` after each layer."""
    with GraphWriter(path) as graph:
        _EncoderWriter(graph, arch, weights, recipe).write(advance)


def position_table(arch: Architecture, projection: Floats) -> Floats:
    """Returns projected sinusoids [heads, head_width, offsets] of a layer, as in Transformer-XL.

    Column o + longest_chunk - 1 is for a key o frames before its query. The offset o runs from
    -(longest_chunk - 1), a key at the end of the query's chunk, to left + longest_chunk - 1.
    """
    offsets = np.arange(1 - arch.longest_chunk, arch.left + arch.longest_chunk)
    rates = np.exp(np.arange(0, arch.width, 2) * (-math.log(10000.0) / arch.width))
    angles = offsets[:, None] * rates
    table = np.empty((len(offsets), arch.width), np.float32)
    table[:, 0::2], table[:, 1::2] = np.sin(angles), np.cos(angles)
    projected = (table @ projection.T).reshape(len(offsets), arch.heads, arch.head_width)
    return projected.transpose(1, 2, 0)


class _EncoderWriter:
    """Writes the nodes of the encoder; its methods take and return names of values."""

    def __init__(
        self,
        graph: GraphWriter,
        arch: Architecture,
        weights: CheckpointWeights,
        recipe: QuantizationRecipe,
    ) -> None:
        self.graph, self.arch, self.weights, self.recipe = graph, arch, weights, recipe

    def write(self, advance: Callable[[], None]) -> None:
        g, a = self.graph, self.arch
        g.input("mel", ["B", "M", a.features.n_mels])
        g.input("live1", ["B", "M1"])
        g.input("live2", ["B", "M2"])
        g.input("mask", ["R", "C1", "K"])
        g.input("offset", ["R", "C", "K"], INT64)
        g.input("past", ["R", a.left], INT64)
        self._shared_values()
        x = self._subsampling()
        advance()
        new_kv, new_conv = [], []
        for i in range(a.layers):
            for kv in ("k", "v"):
                g.input(f"{kv}{i}", ["B", a.heads, a.left, a.head_width])
            g.input(f"c{i}", ["B", a.kernel - 1, a.width])
            x, kv_i, conv_i = self._layer(i, x)
            new_kv.append(kv_i)
            new_conv.append(g.op("Unsqueeze", conv_i, g.integers(0)))
            advance()
        encoded = self._prompt_kernel(x) if a.prompt_width else x
        projected = self._linear("joint.enc", encoded, a.joint, a.width, bits=self.recipe.ends)
        frames: Shape = ["B", "T", a.width]
        g.output("projected", projected, ["B", "T", a.joint])
        g.output("encoded", encoded, frames)
        g.output("hidden", x, frames)
        kv_shape: Shape = [2 * a.layers, "R", a.heads, "C", a.head_width]
        g.output("kv", g.op("Concat", *new_kv, axis=0), kv_shape)
        conv_shape: Shape = [a.layers, "B", a.kernel - 1, a.width]
        g.output("conv", g.op("Concat", *new_conv, axis=0), conv_shape)
        advance()

    # -- values used by every layer --------------------------------------------------------------

    def _shared_values(self) -> None:
        g, a = self.graph, self.arch
        batch = g.op("Shape", "mel", start=0, end=1)
        rows = g.op("Shape", "offset", start=0, end=1)
        chunk = g.op("Shape", "offset", start=1, end=2)
        keys = g.op("Shape", "offset", start=2, end=3)
        self.mask = g.op("Unsqueeze", "mask", g.integers(1))  # over heads
        per_head = g.op("Concat", rows, g.integers(a.heads), chunk, keys, axis=0)
        self.offset = g.op("Expand", g.op("Unsqueeze", "offset", g.integers(1)), per_head)
        self.qkv_shape = g.op("Concat", rows, chunk, g.integers(3, a.heads, a.head_width), axis=0)
        self.frame_shape = g.op("Concat", batch, g.integers(-1, a.width), axis=0)
        one_chunk = g.op("Equal", rows, batch)
        self.one_chunk = g.op("Squeeze", one_chunk)

    # -- parts -----------------------------------------------------------------------------------

    def _subsampling(self) -> str:
        """Writes three causal convolutions of stride 2 over a window with their whole context.

        Padding in time is part of the window: `mel` is zero before the signal. A convolution's
        bias makes those rows nonzero, so `live1` and `live2` reset them to zero.
        """
        g, a = self.graph, self.arch
        x = g.op("Unsqueeze", "mel", g.integers(1))  # [B, 1, M, bands]
        x = g.op("Relu", self._conv2d(0, x, (a.channels, 1, 3, 3)))
        x = g.op("Mul", x, g.op("Unsqueeze", "live1", g.integers(1, 3)))
        x = self._conv2d(2, x, (a.channels, 1, 3, 3), group=a.channels)
        x = g.op("Relu", self._conv2d(3, x, (a.channels, a.channels, 1, 1)))
        x = g.op("Mul", x, g.op("Unsqueeze", "live2", g.integers(1, 3)))
        x = self._conv2d(5, x, (a.channels, 1, 3, 3), group=a.channels)
        x = g.op("Relu", self._conv2d(6, x, (a.channels, a.channels, 1, 1)))
        x = g.op("Transpose", x, perm=[0, 2, 1, 3])  # [B, T, channels, bands]
        flat = a.channels * a.flat_bands
        x = g.op("Reshape", x, g.integers(0, 0, flat))
        return self._linear(
            "encoder.pre_encode.out", x, a.width, flat, a.input_scale, bits=self.recipe.ends
        )

    def _conv2d(self, index: int, x: str, shape: tuple[int, ...], group: int = 1) -> str:
        g, name = self.graph, f"encoder.pre_encode.conv.{index}"
        weight = self.weights.read(f"{name}.weight", *shape)
        bias = self.weights.read(f"{name}.bias", shape[0])
        strided = shape[2] == 3
        return g.op(
            "Conv",
            x,
            g.constant(f"{name}.weight", weight),
            g.constant(f"{name}.bias", bias),
            kernel_shape=list(shape[2:]),
            strides=[2, 2] if strided else [1, 1],
            pads=[0, 2, 0, 1] if strided else [0, 0, 0, 0],  # frequency only
            group=group,
        )

    def _layer(self, i: int, x: str) -> tuple[str, str, str]:
        """Writes layer i for x [B, T, width]; returns output, new keys and values, conv cache."""
        name = f"encoder.layers.{i}"
        y = self._norm(f"{name}.norm_feed_forward1", x)
        y = self._feed_forward(f"{name}.feed_forward1", i, y)
        y, x = self._add_norm(f"{name}.norm_self_att", x, y)
        y, kv = self._attention(f"{name}.self_attn", i, y)
        y, x = self._add_norm(f"{name}.norm_conv", x, y)
        y, conv = self._convolution(f"{name}.conv", i, y)
        y, x = self._add_norm(f"{name}.norm_feed_forward2", x, y)
        y = self._feed_forward(f"{name}.feed_forward2", i, y)
        y, _ = self._add_norm(f"{name}.norm_out", x, y)
        return y, kv, conv

    def _bits(self, i: int) -> int:
        """Returns the bits of layer i."""
        return self.recipe.last if i == self.arch.layers - 1 else self.recipe.layers

    def _feed_forward(self, name: str, i: int, x: str) -> str:
        a, bits = self.arch, self._bits(i)
        x = self._linear(f"{name}.linear1", x, a.feed_forward, a.width, bits=bits)
        x = self._silu(x)
        return self._linear(f"{name}.linear2", x, a.width, a.feed_forward, 0.5, bits=bits)

    def _attention(self, name: str, i: int, x: str) -> tuple[str, str]:
        g, a = self.graph, self.arch
        z = self._qkv(name, i, x)
        z = g.op("Transpose", g.op("Reshape", z, self.qkv_shape), perm=[2, 0, 3, 1, 4])
        q, k, v = (
            g.op("Gather", z, g.constant(f"{name}.{j}", np.array(j, np.int64)), axis=0)
            for j in range(3)
        )  # [R, heads, c, head_width]
        new = g.op("Slice", z, g.integers(1), g.integers(3), g.integers(0))
        scale = 1 / math.sqrt(a.head_width)
        by_content = g.op("Add", q, self._head_bias(name, "pos_bias_u", scale))
        by_position = g.op("Add", q, self._head_bias(name, "pos_bias_v", scale))
        projection = self.weights.read(f"{name}.linear_pos.weight", a.width, a.width)
        table = g.constant(f"{name}.positions", position_table(a, projection))
        position = g.op("MatMul", by_position, table)
        position = g.op("GatherElements", position, self.offset, axis=3)
        past = self._product_with_past("scores", by_content, f"k{i}", k)
        own = g.op("FusedMatMul", by_content, k, domain=CONTRIB, transB=1)
        scores = g.op("Add", g.op("Concat", past, own, axis=3), position)
        p = g.op("Softmax", g.op("Add", scores, self.mask), axis=-1)
        left = g.integers(a.left)
        p_past = g.op("Slice", p, g.integers(0), left, g.integers(3))
        p_own = g.op("Slice", p, left, g.integers(_TO_THE_END), g.integers(3))
        y = g.op(
            "Add",
            self._product_with_past("values", p_past, f"v{i}", v),
            g.op("MatMul", p_own, v),
        )
        y = g.op("Reshape", g.op("Transpose", y, perm=[0, 2, 1, 3]), self.frame_shape)
        y = self._linear(f"{name}.linear_out", y, a.width, a.width, bits=self._bits(i))
        return y, new

    def _qkv(self, name: str, i: int, x: str) -> str:
        """Writes query, key and value as one product; the query includes the attention's scale."""
        a, w = self.arch, self.weights
        names = [f"{name}.linear_{part}" for part in "qkv"]
        weight = np.concatenate([w.read(f"{n}.weight", a.width, a.width) for n in names])
        scale = 1 / math.sqrt(a.head_width)
        weight[: a.width] *= scale
        bias = None
        if f"{names[0]}.bias" in w:
            bias = np.concatenate([w.read(f"{n}.bias", a.width) for n in names])
            bias[: a.width] *= scale
        return self.graph.linear(f"{name}.qkv", x, weight, bias, self._bits(i))

    def _head_bias(self, name: str, kind: str, scale: float) -> str:
        a, w = self.arch, self.weights
        shared = f"encoder.{kind}"  # untie_biases: false shares one among layers
        source = shared if shared in w else f"{name}.{kind}"
        bias = w.read(source, a.heads, a.head_width) * scale
        return self.graph.constant(f"{name}.{kind}", bias[:, None].astype(np.float32))

    def _product_with_past(self, kind: str, x: str, cache: str, new: str) -> str:
        """Writes the product of x [R, heads, c, .] and each chunk row's cached keys or values.

        With one chunk a row the operand is the cache itself. With many chunks of one stream each
        chunk's past is gathered from the cache and the new frames, in the order of the ring.
        """
        g, a = self.graph, self.arch
        transposed = kind == "scores"

        def product(branch: Subgraph, keys: str) -> str:
            if transposed:
                return branch.op("FusedMatMul", x, keys, domain=CONTRIB, transB=1)
            return branch.op("MatMul", x, keys)

        live = Subgraph(g)
        whole = Subgraph(g)
        flat = whole.op("Transpose", new, perm=[1, 0, 2, 3])
        flat = whole.op("Reshape", flat, whole.integers(1, a.heads, -1, a.head_width))
        both = whole.op("Concat", cache, flat, axis=2)  # [1, heads, left + T, head_width]
        each = whole.op("Gather", both, "past", axis=2)  # [1, heads, R, left, head_width]
        each = whole.op("Squeeze", each, whole.integers(0))
        each = whole.op("Transpose", each, perm=[1, 0, 2, 3])
        return g.choose(self.one_chunk, (product(live, cache), live), (product(whole, each), whole))

    def _convolution(self, name: str, i: int, x: str) -> tuple[str, str]:
        g, a, bits = self.graph, self.arch, self._bits(i)
        x = self._linear(f"{name}.pointwise_conv1", x, 2 * a.width, a.width, bits=bits)
        value, gate = g.ops("Split", x, outs=2, axis=2, num_outputs=2)
        x = g.op("Mul", value, g.op("Sigmoid", gate))
        x = g.op("Concat", f"c{i}", x, axis=1)  # [B, kernel - 1 + T, width]
        last = (g.integers(1 - a.kernel), g.integers(_TO_THE_END), g.integers(1))
        cache = g.op("Slice", x, *last)
        weight, bias = self._depthwise(name)
        # A 2-D convolution: onnxruntime's 1-D one is up to ten times slower, and sums in another
        # order for a single frame.
        x = g.op("Transpose", g.op("Unsqueeze", x, g.integers(3)), perm=[0, 2, 1, 3])
        x = g.op(
            "Conv",
            x,
            g.constant(f"{name}.depthwise_conv.weight", weight[..., None]),
            g.constant(f"{name}.depthwise_conv.bias", bias),
            kernel_shape=[a.kernel, 1],
            group=a.width,
        )
        x = g.op("Squeeze", g.op("Transpose", x, perm=[0, 2, 1, 3]), g.integers(3))
        if not a.batch_norm:
            x = self._norm(f"{name}.batch_norm", x)  # a LayerNorm under its historic name
        x = self._silu(x)
        x = self._linear(f"{name}.pointwise_conv2", x, a.width, a.width, bits=bits)
        return x, cache

    def _depthwise(self, name: str) -> tuple[Floats, Floats]:
        """Returns the depthwise convolution's weight and bias with the BatchNorm folded in."""
        a, w = self.arch, self.weights
        weight = w.read(f"{name}.depthwise_conv.weight", a.width, 1, a.kernel)
        bias = w.optional(f"{name}.depthwise_conv.bias", a.width)
        if bias is None:
            bias = np.zeros(a.width, np.float32)
        if not a.batch_norm:
            return weight, bias
        norm = f"{name}.batch_norm"
        gain = w.read(f"{norm}.weight", a.width)
        variance = w.read(f"{norm}.running_var", a.width) + EPSILON
        gain = (gain / np.sqrt(variance)).astype(np.float32)
        mean, shift = (w.read(f"{norm}.{part}", a.width) for part in ("running_mean", "bias"))
        return weight * gain[:, None, None], (bias - mean) * gain + shift

    def _prompt_kernel(self, x: str) -> str:
        """Writes linear, ReLU, linear on frames; input `language` adds the one-hot part."""
        g, a = self.graph, self.arch
        first = self.weights.read("prompt_kernel.0.weight")[:, : a.width]
        language = g.input("language", ["B", len(first)])
        x = g.linear("prompt_kernel.0", x, first, None)
        x = g.op("Relu", g.op("Add", x, g.op("Unsqueeze", language, g.integers(1))))
        return self._linear("prompt_kernel.2", x, a.width, len(first))

    # -- operators -------------------------------------------------------------------------------

    def _linear(
        self, name: str, x: str, outputs: int, inputs: int, scale: float = 1.0, bits: int = 32
    ) -> str:
        """Writes a linear layer or a pointwise convolution of the checkpoint."""
        pointwise = (1,) if "pointwise" in name else ()
        weight = self.weights.read(f"{name}.weight", outputs, inputs, *pointwise)
        weight = weight.reshape(outputs, inputs)
        bias = self.weights.optional(f"{name}.bias", outputs)
        if scale != 1.0:
            weight = weight * np.float32(scale)
            bias = bias if bias is None else bias * np.float32(scale)
        return self.graph.linear(name, x, weight, bias, bits)

    def _norm_constants(self, name: str) -> tuple[str, str]:
        weight, bias = (
            self.graph.constant(
                f"{name}.{part}", self.weights.read(f"{name}.{part}", self.arch.width)
            )
            for part in ("weight", "bias")
        )
        return weight, bias

    def _norm(self, name: str, x: str) -> str:
        constants = self._norm_constants(name)
        return self.graph.op("LayerNormalization", x, *constants, axis=-1, epsilon=EPSILON)

    def _add_norm(self, name: str, x: str, y: str) -> tuple[str, str]:
        """Writes the norm of x + y; returns it and x + y."""
        constants = self._norm_constants(name)
        outs = self.graph.ops(
            "SkipLayerNormalization", x, y, *constants, outs=4, domain=CONTRIB, epsilon=EPSILON
        )
        return outs[0], outs[3]

    def _silu(self, x: str) -> str:
        return self.graph.op("QuickGelu", x, domain=CONTRIB, alpha=1.0)


def language_table(arch: Architecture, weights: CheckpointWeights) -> Floats:
    """Returns the bias inside the prompt kernel of each prompt id, [prompt ids, 2 width]."""
    first = weights.read("prompt_kernel.0.weight")
    bias = weights.optional("prompt_kernel.0.bias", len(first))
    table = first[:, arch.width :].T
    return np.ascontiguousarray(table if bias is None else table + bias)
