"""Reads the architecture from a checkpoint's configuration; unsupported settings are rejected.

Supported models are NeMo's EncDecRNNTBPEModel and EncDecRNNTBPEModelWithPrompt. They have a
cache-aware FastConformer encoder, an optional language prompt kernel, an LSTM predictor and a
joint. The encoder has causal dw_striding x8, relative positions, chunked_limited attention and
causal convolutions. Every size comes from the configuration and is compared with the shapes of the
tensors when they are read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from reprlib import repr  # noqa: A004  (values in a file may be long)
from typing import Any

import numpy as np

from wheatear.audio.mel import LOG_GUARD, SAMPLE_RATE, MelSettings, slaney_bank
from wheatear.convert.checkpoints.weights import Checkpoint, CheckpointWeights
from wheatear.errors import CheckpointError
from wheatear.model.latency import LatencyMode, available_modes
from wheatear.model.pieces import language_tags
from wheatear.model.size_limits import (
    MAX_MODES,
    MAX_PROMPTS,
    MAX_SIZES,
    MAX_SYMBOLS,
    check_size,
    check_state,
)

_LARGEST = 1 << 48
_ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}  # ONNX


@dataclass(frozen=True)
class Architecture:
    """Sizes and kinds of the layers of a checkpoint; widths are numbers of channels."""

    features: MelSettings
    layers: int
    width: int
    heads: int
    feed_forward: int
    kernel: int
    channels: int
    input_scale: float
    """Factor of the subsampling's output: NeMo's xscaling, or 1."""
    batch_norm: bool
    """True if convolution modules have a BatchNorm, which is folded away, not a LayerNorm."""
    modes: tuple[LatencyMode, ...]
    default_mode: LatencyMode
    predictor_layers: int
    hidden: int
    joint: int
    activation: str
    """ONNX name of the joint's activation."""
    output: str
    """Name of the joint's last layer; its index depends on the dropout of the configuration."""
    blank: int
    max_symbols: int
    prompts: dict[str, int]
    prompt_width: int
    """Length of the one-hot language prompt; 0 without language prompts."""
    tags: dict[int, str]

    @property
    def left(self) -> int:
        return max(mode.left for mode in self.modes)

    @property
    def longest_chunk(self) -> int:
        return max(mode.chunk for mode in self.modes)

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def flat_bands(self) -> int:
        """Mel bands after three convolutions of stride 2, padded by 2 + 1."""
        bands = self.features.n_mels
        for _ in range(3):
            bands = bands // 2 + 1
        return bands


def read_architecture(checkpoint: Checkpoint) -> Architecture:
    """Reads an architecture; raises CheckpointError that names an unsupported setting."""
    config, weights = _Section("", checkpoint.config), checkpoint.weights
    features = _features(config.section("preprocessor"), weights)
    encoder = config.section("encoder")
    encoder.require("subsampling", "dw_striding", default="striding")
    encoder.require("subsampling_factor", 8, default=4)
    encoder.require("causal_downsampling", True, default=False)
    encoder.require("self_attention_model", "rel_pos", default="rel_pos")
    encoder.require("att_context_style", "chunked_limited", default="regular")
    encoder.require("feat_in", features.n_mels, default=None)
    if encoder.get("reduction", None):
        raise CheckpointError("the checkpoint's encoder.reduction is not supported")
    width = encoder.integer("d_model", bound="encoder.width")
    heads = encoder.integer("n_heads", bound="encoder.heads")
    if (found := weights.axis("encoder.pre_encode.out.weight", 0)) != width:
        raise CheckpointError(
            f"encoder.d_model is {width}, but the checkpoint's frames are {found} wide"
        )
    if width % heads:
        raise CheckpointError(f"encoder.n_heads {heads} does not divide encoder.d_model {width}")
    kernel = encoder.integer("conv_kernel_size", bound="encoder.kernel")
    if encoder.get("conv_context_size", None) not in ("causal", [kernel - 1, 0]):
        raise CheckpointError(
            "the checkpoint's encoder.conv_context_size is not causal: it cannot be streamed"
        )
    norm = encoder.get("conv_norm_type", "batch_norm")
    if norm not in ("layer_norm", "batch_norm"):
        raise CheckpointError(
            f"the checkpoint's encoder.conv_norm_type {repr(norm)} is not supported"
        )
    modes, default_mode = _modes(encoder.get("att_context_size", None))
    decoder = config.section("decoder").section("prednet")
    joint = config.section("joint").section("jointnet")
    activation = str(joint.get("activation", "relu")).lower()
    if activation not in _ACTIVATIONS:
        raise CheckpointError(f"the joint's activation {repr(activation)} is not supported")
    output = _joint_output(weights)
    outputs, blank = weights.axis(f"{output}.weight", 0), len(checkpoint.vocabulary.pieces)
    if outputs != blank + 1:
        raise CheckpointError(
            f"the joint has {outputs} outputs for {blank} pieces and a blank: not an RNN-T joint"
        )
    prompts, prompt_width = _prompts(config, weights, width)
    scale = width**0.5 if encoder.get("xscaling", True) else 1.0
    layers = encoder.integer("n_layers", bound="encoder.layers")
    feed_forward = width * encoder.integer("ff_expansion_factor", 4)
    channels = weights.axis("encoder.pre_encode.conv.0.weight", 0)
    try:
        check_size("encoder.feed_forward", feed_forward)
        check_size("encoder.channels", channels)
        check_state(layers, width, max(mode.left for mode in modes), kernel)
    except ValueError as error:
        raise CheckpointError(f"the checkpoint is refused: {error}") from error
    return Architecture(
        features=features,
        layers=layers,
        width=width,
        heads=heads,
        feed_forward=feed_forward,
        kernel=kernel,
        channels=channels,
        input_scale=scale,
        batch_norm=norm == "batch_norm",
        modes=modes,
        default_mode=default_mode,
        predictor_layers=decoder.integer("pred_rnn_layers", 1, bound="decoder.layers"),
        hidden=decoder.integer("pred_hidden", bound="decoder.hidden"),
        joint=joint.integer("joint_hidden", bound="decoder.joint"),
        activation=_ACTIVATIONS[activation],
        output=output,
        blank=blank,
        max_symbols=_max_symbols(config),
        prompts=prompts,
        prompt_width=prompt_width,
        tags=language_tags(checkpoint.vocabulary.pieces, prompts),
    )


class _Section:
    """A section of the configuration with its path, for error messages."""

    def __init__(self, name: str, values: Mapping[str, Any]) -> None:
        self._name, self._values = name, values

    def section(self, key: str, *, optional: bool = False) -> "_Section":
        values = self._values.get(key)
        if values is None and optional:
            values = {}
        if not isinstance(values, Mapping):
            raise CheckpointError(f"the checkpoint's configuration has no {self._name}{key}")
        return _Section(f"{self._name}{key}.", values)

    def get(self, key: str, default: Any) -> Any:
        return self._values.get(key, default)

    def integer(self, key: str, default: int | None = None, *, bound: str | None = None) -> int:
        """Returns a positive whole number up to the size limit that `bound` names."""
        value = self._values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise CheckpointError(
                f"the checkpoint's {self._name}{key} is {repr(value)}, not a positive whole number"
            )
        if value > (most := MAX_SIZES[bound] if bound else _LARGEST):
            raise CheckpointError(
                f"the checkpoint's {self._name}{key} is {repr(value)}; at most {most:,} can be run"
            )
        return value

    def number(self, key: str, default: float) -> float:
        value = self._values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise CheckpointError(
                f"the checkpoint's {self._name}{key} is {repr(value)}, not a number"
            )
        if not -_LARGEST <= value <= _LARGEST:
            raise CheckpointError(
                f"the checkpoint's {self._name}{key} is {repr(value)}, out of range"
            )
        return float(value)

    def require(self, key: str, only: Any, *, default: Any) -> None:
        """Rejects any other value; `default` is NeMo's value for a missing key."""
        if (value := self._values.get(key, default)) != only:
            raise CheckpointError(
                f"the checkpoint's {self._name}{key} is {repr(value)}; only {only!r} is supported"
            )


def _features(section: _Section, weights: CheckpointWeights) -> MelSettings:
    section.require("sample_rate", SAMPLE_RATE, default=SAMPLE_RATE)
    section.require("window", "hann", default="hann")
    section.require("log", True, default=True)
    section.require("log_zero_guard_type", "add", default="add")
    section.require("log_zero_guard_value", LOG_GUARD, default=LOG_GUARD)
    section.require("frame_splicing", 1, default=1)
    section.require("mag_power", 2.0, default=2.0)
    section.require("exact_pad", False, default=False)
    section.require("mel_norm", "slaney", default="slaney")
    section.require("lowfreq", 0, default=0)
    if section.get("highfreq", None) not in (None, SAMPLE_RATE // 2):
        raise CheckpointError("the checkpoint's preprocessor.highfreq is not supported")
    if section.get("normalize", "per_feature") not in ("NA", "", None, "None"):
        raise CheckpointError(
            "the checkpoint normalizes its features over the whole utterance "
            "(preprocessor.normalize): it cannot be streamed"
        )
    hop = round(section.number("window_stride", 0.01) * SAMPLE_RATE)
    if hop != SAMPLE_RATE // 100:
        raise CheckpointError(
            f"the checkpoint's mel frames have a hop of {hop} samples; only 160 is supported"
        )
    without = section.get("preemph", 0.97) is None
    preemphasis = 0.0 if without else section.number("preemph", 0.97)
    settings = MelSettings(
        n_mels=section.integer("features", 64, bound="features.bands"),
        n_fft=section.integer("n_fft", 512),
        win_length=round(section.number("window_size", 0.02) * SAMPLE_RATE),
        hop_length=hop,
        preemphasis=preemphasis,
    )
    if not 0 <= settings.preemphasis < 1:
        raise CheckpointError(
            f"the checkpoint's pre-emphasis of {settings.preemphasis} is out of range"
        )
    if not 0 < settings.win_length <= settings.n_fft <= MAX_SIZES["features.fft"]:
        raise CheckpointError(
            f"the checkpoint's window of {settings.win_length} samples does not fit its "
            f"Fourier transform of {settings.n_fft} points"
        )
    _check_front_end(settings, weights)
    return settings


def _check_front_end(settings: MelSettings, weights: CheckpointWeights) -> None:
    """Rejects a checkpoint whose own mel filters and window differ from those computed here."""
    ours = {
        "fb": slaney_bank(settings).T[None],
        "window": np.hanning(settings.win_length).astype(np.float32),
    }
    for name, expected in ours.items():
        theirs = weights.optional(f"preprocessor.featurizer.{name}")
        if theirs is None:
            continue
        # One percent: a checkpoint in half precision stores these constants in half precision.
        if theirs.shape != expected.shape or np.any(
            np.abs(theirs - expected) > 0.01 * expected.max()
        ):
            raise CheckpointError(
                f"the checkpoint's preprocessor.featurizer.{name} is not the one of NeMo's "
                f"defaults (Slaney filters from 0 to 8000 Hz, symmetric Hann window): not supported"
            )


def _modes(contexts: Any) -> tuple[tuple[LatencyMode, ...], LatencyMode]:
    pairs = contexts if isinstance(contexts, list) else []
    pairs = [pairs] if pairs and not isinstance(pairs[0], list) else pairs
    if not pairs or not all(
        isinstance(pair, list) and len(pair) == 2 and all(type(n) is int for n in pair)
        for pair in pairs
    ):
        raise CheckpointError(f"the checkpoint's encoder.att_context_size is {repr(contexts)}")
    if len(pairs) > MAX_MODES:
        raise CheckpointError(f"the checkpoint has {len(pairs):,} attention contexts")
    for left, right in pairs:
        if left > MAX_SIZES["encoder.left"] or right >= MAX_SIZES["encoder.longest_chunk"]:
            raise CheckpointError(
                f"the checkpoint's attention context {repr([left, right])} is out of range"
            )
    if any(left < 1 or right < 0 for left, right in pairs):
        raise CheckpointError(
            f"the checkpoint's attention context {repr(contexts)} is unlimited or empty on one "
            f"side: it cannot be streamed"
        )
    modes = available_modes([(left, right) for left, right in pairs])
    default = [mode for mode in modes if [mode.left, mode.lookahead] == pairs[0]]
    if not default:
        left, right = pairs[0]
        raise CheckpointError(
            f"the checkpoint's default attention context {pairs[0]} is invalid: {left} frames are "
            f"not a whole number of {right + 1}-frame chunks"
        )
    return modes, default[0]


def _joint_output(weights: CheckpointWeights) -> str:
    for index in (2, 1):  # activation, dropout (absent if 0), linear
        if f"joint.joint_net.{index}.weight" in weights:
            return f"joint.joint_net.{index}"
    raise CheckpointError("the checkpoint has no output layer (joint.joint_net.*)")


def _max_symbols(config: _Section) -> int:
    greedy = config.section("decoding", optional=True).section("greedy", optional=True)
    value = greedy.get("max_symbols", None) or greedy.get("max_symbols_per_step", None)
    if type(value) is int and value > (most := MAX_SIZES["decoder.max_symbols"]):
        raise CheckpointError(
            f"the checkpoint's decoding.greedy.max_symbols is {repr(value)}; at most {most} can be "
            f"run"
        )
    return value if type(value) is int and value > 0 else MAX_SYMBOLS


def _prompts(
    config: _Section, weights: CheckpointWeights, width: int
) -> tuple[dict[str, int], int]:
    if "prompt_kernel.0.weight" not in weights:
        return {}, 0
    prompt_width = weights.axis("prompt_kernel.0.weight", 1) - width
    defaults = config.section("model_defaults", optional=True)
    dictionary = defaults.get("prompt_dictionary", None) or config.get("prompt_dictionary", None)
    prompts = {str(k): v for k, v in dictionary.items()} if isinstance(dictionary, Mapping) else {}
    if not 0 < prompt_width <= MAX_PROMPTS or len(prompts) > MAX_PROMPTS:
        raise CheckpointError(f"the checkpoint has {max(prompt_width, len(prompts))} prompts")
    if not prompts:
        raise CheckpointError(
            "the checkpoint has a prompt kernel but no prompt dictionary "
            "(model_defaults.prompt_dictionary)"
        )
    for key, value in prompts.items():
        if type(value) is not int or not 0 <= value < prompt_width:
            raise CheckpointError(
                f"the checkpoint's prompt dictionary gives {repr(key)[1:-1]} the id {repr(value)}, "
                f"outside 0 .. {prompt_width - 1}"
            )
    return prompts, prompt_width
