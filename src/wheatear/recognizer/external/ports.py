"""Which input and output of somebody else's graph is what: told by name, rank and size.

    dialect            mel                     caches        frames    language
    onnxruntime-genai  audio_signal [B, T, F]  batch first   [B, T, D]  lang_id
    sherpa-onnx        audio_signal [B, F, T]  batch first   [B, D, T]  prompt_index
    parakeet-rs        processed_signal        layer first   [B, D, T]  prompt_index
    soniqo             audio_signal, past mel  layer first   [B, T, D]  language_mask (one-hot)
                       apart in pre_cache

NeMo calls what attention looks back at `cache_last_channel`, what convolutions look back at
`cache_last_time`, and how much of the former is filled `cache_last_channel_len`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wheatear.errors import BundleError
from wheatear.model.onnx_session import Session, TensorInfo

_LARGEST = 1 << 16


@dataclass(frozen=True)
class Axes:
    """Where the dimensions of a cache [layers, batch, ...] are."""

    layer_first: bool
    layers: int

    @property
    def batch(self) -> int:
        return 1 if self.layer_first else 0


@dataclass(frozen=True)
class EncoderPorts:
    mel: TensorInfo
    past_mel: TensorInfo | None
    """Where the mel that was seen before is an input of its own."""
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
    taps: int
    """Frames that a convolution looks back at."""

    @property
    def batched(self) -> bool:
        """Whether the graph says that it takes several streams at once."""
        return self.mel.shape[0] is None and self.channel.shape[self.axes.batch] is None


def encoder_ports(session: Session, name: str) -> EncoderPorts:
    """Raises BundleError for a graph that is no encoder of the family."""
    inputs, outputs = session.inputs, session.outputs
    channel, time = _cache(inputs, "channel", name), _cache(inputs, "time", name)
    mel = _only([p for p in inputs if len(p.shape) == 3 and "cache" not in p.name], "mel", name)
    frames = _only(
        [p for p in outputs if len(p.shape) == 3 and "cache" not in p.name], "encoded frames", name
    )
    lengths = [p for p in inputs if len(p.shape) == 1 and p.integer]
    axes, told = _axes(channel, name), session.metadata
    left, width = (_size(channel, axis, told, name) for axis in (2, 3))
    time_width, taps = (_size(time, axis, told, name) for axis in (2, 3))
    if time_width != width:
        raise BundleError(f"{name} does not fit together: its two caches differ in width")
    return EncoderPorts(
        mel=mel,
        past_mel=_first(p for p in inputs if len(p.shape) == 3 and "pre_cache" in p.name),
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
        taps=taps,
    )


def _cache(ports: Sequence[TensorInfo], kind: str, name: str) -> TensorInfo:
    found = [p for p in ports if len(p.shape) == 4 and kind in p.name]
    return _only(found, f"cache_last_{kind}", name)


def _axes(cache: TensorInfo, name: str) -> Axes:
    """The batch is the axis that is one or any number; layers come before it or after it."""
    first, second = cache.shape[:2]
    if second is not None and first in (1, None):
        return Axes(layer_first=False, layers=second)
    if first is not None and second in (1, None):
        return Axes(layer_first=True, layers=first)
    raise BundleError(f"{name}: {cache.name} {list(cache.shape)} is not for one stream at a time")


def _size(cache: TensorInfo, axis: int, told: Mapping[str, str], name: str) -> int:
    """A dimension of a cache; sherpa-onnx leaves some open and tells them beside the graph."""
    if (size := cache.shape[axis]) is not None:
        return size
    size = told.get(f"{cache.name}_dim{axis}", "")
    if not size.isdecimal() or not 0 < int(size) <= _LARGEST:
        raise BundleError(f"{name} does not say how large {cache.name} is: {list(cache.shape)}")
    return int(size)


def _only(ports: Sequence[TensorInfo], what: str, name: str) -> TensorInfo:
    if len(ports) != 1:
        raise BundleError(
            f"{name} is no streaming encoder that is known here: it has {len(ports)} candidates "
            f"for {what}"
        )
    return ports[0]


def _first(ports: Iterable[TensorInfo]) -> TensorInfo | None:
    return next(iter(ports), None)
