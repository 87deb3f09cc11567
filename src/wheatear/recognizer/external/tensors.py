"""Inputs and outputs of an external encoder graph, recognized by name, rank and size.

    dialect            mel                     caches        frames    language
    onnxruntime-genai  audio_signal [B, T, F]  batch first   [B, T, D]  lang_id
    sherpa-onnx        audio_signal [B, F, T]  batch first   [B, D, T]  prompt_index
    parakeet-rs        processed_signal        layer first   [B, D, T]  prompt_index
    soniqo             audio_signal, past mel  layer first   [B, T, D]  language_mask (one-hot)
                       separate: pre_cache

In NeMo's names, `cache_last_channel` is the cache of attention, `cache_last_time` that of the
convolutions, and `cache_last_channel_len` the number of filled frames of the former.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wheatear.errors import BundleError
from wheatear.model.onnx_session import Session, TensorInfo

_MAX_DIMENSION = 1 << 16


@dataclass(frozen=True)
class Axes:
    """Order of the first dimensions of a cache."""

    layer_first: bool
    layers: int

    @property
    def batch(self) -> int:
        return 1 if self.layer_first else 0


@dataclass(frozen=True)
class EncoderTensors:
    mel: TensorInfo
    mel_cache: TensorInfo | None
    """Input of the mel frames before the chunk, if it is separate."""
    length: TensorInfo | None
    channel: TensorInfo
    time: TensorInfo
    channel_length: TensorInfo | None
    language: TensorInfo | None
    frames: str
    channel_next: str
    time_next: str
    axes: Axes
    left: int
    width: int
    conv_frames: int
    """Frames in the cache of a convolution."""

    @property
    def batched(self) -> bool:
        """True if the graph declares a batch of any size."""
        return self.mel.shape[0] is None and self.channel.shape[self.axes.batch] is None


def encoder_tensors(session: Session, name: str) -> EncoderTensors:
    """Recognizes the tensors of a graph. Raises BundleError for other graphs."""
    inputs, outputs = session.inputs, session.outputs
    channel, time = _cache(inputs, "channel", name), _cache(inputs, "time", name)
    mel = _only([p for p in inputs if len(p.shape) == 3 and "cache" not in p.name], "mel", name)
    frames = _only(
        [p for p in outputs if len(p.shape) == 3 and "cache" not in p.name], "encoded frames", name
    )
    lengths = [p for p in inputs if len(p.shape) == 1 and p.integer]
    axes, metadata = _axes(channel, name), session.metadata
    left, width = (_size(channel, axis, metadata, name) for axis in (2, 3))
    time_width, conv_frames = (_size(time, axis, metadata, name) for axis in (2, 3))
    if time_width != width:
        raise BundleError(f"{name} does not fit together: its two caches differ in width")
    return EncoderTensors(
        mel=mel,
        mel_cache=_first(p for p in inputs if len(p.shape) == 3 and "pre_cache" in p.name),
        length=_first(p for p in lengths if "len" in p.name and "cache" not in p.name),
        channel=channel,
        time=time,
        channel_length=_first(p for p in lengths if "cache" in p.name),
        language=_first(
            p for p in inputs if ("lang" in p.name or "prompt" in p.name) and len(p.shape) in (1, 2)
        ),
        frames=frames.name,
        channel_next=_cache(outputs, "channel", name).name,
        time_next=_cache(outputs, "time", name).name,
        axes=axes,
        left=left,
        width=width,
        conv_frames=conv_frames,
    )


def _cache(tensors: Sequence[TensorInfo], kind: str, name: str) -> TensorInfo:
    found = [p for p in tensors if len(p.shape) == 4 and kind in p.name]
    return _only(found, f"cache_last_{kind}", name)


def _axes(cache: TensorInfo, name: str) -> Axes:
    """Finds the axes of the batch, which is 1 or dynamic, and of the layers."""
    first, second = cache.shape[:2]
    if second is not None and first in (1, None):
        return Axes(layer_first=False, layers=second)
    if first is not None and second in (1, None):
        return Axes(layer_first=True, layers=first)
    raise BundleError(f"{name}: {cache.name} {list(cache.shape)} is not for one stream at a time")


def _size(cache: TensorInfo, axis: int, metadata: Mapping[str, str], name: str) -> int:
    """Returns a dimension of a cache; sherpa-onnx has dynamic ones in its metadata."""
    if (size := cache.shape[axis]) is not None:
        return size
    size = metadata.get(f"{cache.name}_dim{axis}", "")
    if not size.isdecimal() or not 0 < int(size) <= _MAX_DIMENSION:
        raise BundleError(f"{name} does not declare the size of {cache.name}: {list(cache.shape)}")
    return int(size)


def _only(tensors: Sequence[TensorInfo], what: str, name: str) -> TensorInfo:
    if len(tensors) != 1:
        raise BundleError(
            f"{name} is no streaming encoder that is known here: it has {len(tensors)} candidates "
            f"for {what}"
        )
    return tensors[0]


def _first(tensors: Iterable[TensorInfo]) -> TensorInfo | None:
    return next(iter(tensors), None)
