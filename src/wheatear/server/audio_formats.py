"""Formats of headerless audio, as requests describe them.

    encoding=linear16&sample_rate=16000          Deepgram's names, in queries and forms
    Content-Type: audio/l16;rate=16000           of a body, or of the file part of a form

A body that begins like a file is read as that file, whatever the request states.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from wheatear.audio import file_type
from wheatear.audio.pcm import RawFormat
from wheatear.audio.reader import AudioLimits, AudioReader, open_audio
from wheatear.errors import AudioError
from wheatear.server.api_errors import ApiError

ENCODINGS = {"linear16": "s16", "linear32": "f32", "mulaw": "mulaw", "alaw": "alaw"}
"""Deepgram's names of headerless encodings -> ours."""
_ALIASES = {
    "pcm": "s16", "pcm16": "s16", "pcm_s16le": "s16", "s16le": "s16", "s16": "s16",
    "pcm_f32le": "f32", "f32le": "f32", "f32": "f32", "ulaw": "mulaw", "pcm_mulaw": "mulaw",
    "g711_ulaw": "mulaw", "pcm_alaw": "alaw", "g711_alaw": "alaw",
}  # fmt: skip
FILES = ("flac", "opus", "ogg-opus", "amr-nb", "amr-wb", "wav", "webm", "mp3", "aac")
"""Encodings of files, which have headers."""
_WITHOUT_HEADER = ("mp3", "aac")
"""Encodings of files that may begin without a known header."""
_MEDIA_TYPES = {
    "l16": "l16", "x-l16": "l16", "pcm": "s16", "x-pcm": "s16", "raw": "s16", "x-raw": "s16",
    "x-raw-int": "s16", "x-raw-float": "f32", "basic": "mulaw", "pcmu": "mulaw", "mulaw": "mulaw",
    "x-mulaw": "mulaw", "ulaw": "mulaw", "pcma": "alaw", "alaw": "alaw", "x-alaw": "alaw",
}  # fmt: skip
_PARAMETERS = {
    "rate": "rate", "sample-rate": "rate", "sample_rate": "rate", "samplerate": "rate",
    "channels": "channels", "endianness": "endianness", "encoding": "encoding", "bits": "bits",
    "format": "format", "layout": "layout",
}  # fmt: skip
_G711_RATE = 8000  # Hz, of G.711 without a stated rate
_BYTE_ORDER_BYTES = 1 << 20  # from which the byte order is estimated
_ADVICE = "raw PCM with its format given"
_ADVICE_HERE = (
    "audio without a header with encoding and sample_rate given (encoding=linear16, "
    "sample_rate=16000) or sent as Content-Type: audio/l16;rate=16000"
)
"""Advice for a request, in place of the one for a program."""
_G711 = ("mulaw", "alaw")


@dataclass(frozen=True)
class Raw:
    """Format of headerless audio."""

    encoding: str
    """s16, f32, mulaw or alaw; s16be is big-endian, l16 has either byte order."""
    rate: int
    channels: int = 1


def encoding_of(name: str) -> str:
    """Returns our name of a headerless encoding; empty for one of files.  Raises ApiError."""
    plain = name.strip().lower()
    if plain in FILES:
        return ""
    found = ENCODINGS.get(plain) or _ALIASES.get(plain)
    if found is None:
        raise ApiError(
            400, f"encoding {name[:50]!r} is none of {', '.join((*ENCODINGS, *FILES))}",
            code="invalid_value", param="encoding",
        )  # fmt: skip
    return found


def headerless_format(encoding: str, rate: int | None, channels: int | None, where: str) -> Raw:
    """Returns the format of some settings; `where` names the place of the rate in an error.

    Raises ApiError.
    """
    if rate is None and encoding not in _G711:
        raise ApiError(
            400, f"give the sample rate of headerless audio, as {where}", code="missing",
            param="sample_rate",
        )  # fmt: skip
    return Raw(encoding, rate or _G711_RATE, channels or 1)


def format_of_media_type(content_type: str | None, rate: int | None = None) -> Raw | None:
    """Returns the format of a media type; None for a type of files or of no audio.

    Args:
        content_type: Value of the header.
        rate: Sample rate in Hz, used if the type has none.

    Raises:
        ApiError: If the type is wrong.
    """
    kind, *given = re.split(r"[;,]", content_type or "")
    family, _, name = kind.strip().lower().partition("/")
    if family != "audio" or (encoding := _MEDIA_TYPES.get(name)) is None:
        return None
    values: dict[str, str] = {}
    for parameter in filter(None, map(str.strip, given)):
        key, _, value = parameter.partition("=")
        if (known := _PARAMETERS.get(key.strip().lower())) is None:
            raise _bad_type(f"{key[:50]!r} is not known; rate, channels and endianness are")
        # GStreamer writes rate=(int)16000.
        values[known] = re.sub(r"^\([a-z]+\)", "", value.strip().strip('"').lower())
    encoding = _refined(encoding, values)
    rate = _whole(values, "rate") or rate
    return headerless_format(
        encoding, rate, _whole(values, "channels"), f"{kind.strip()};rate=16000"
    )


def _refined(encoding: str, values: dict[str, str]) -> str:
    """Returns the encoding after the parameters of a media type.  Raises ApiError."""
    if (form := values.get("format") or values.get("encoding")) is not None:
        names = {"s16le": "s16", "s16be": "s16be", "f32le": "f32", "signed-int": "s16",
                 "signed-integer": "s16", "float": "f32", "floating-point": "f32",
                 "mu-law": "mulaw", "a-law": "alaw"}  # fmt: skip
        if (encoding := names.get(form) or encoding_of(form)) == "":
            raise _bad_type(f"{form[:50]!r} is not headerless")
    sizes = {"s16": "16", "s16be": "16", "l16": "16", "f32": "32", "mulaw": "8", "alaw": "8"}
    if values.get("bits", sizes[encoding]) != sizes[encoding]:
        raise _bad_type(f"{values['bits'][:50]} bits do not work; {sizes[encoding]} do")
    if values.get("layout", "interleaved") != "interleaved":
        raise _bad_type("channels must be interleaved")
    order = values.get("endianness", "").removesuffix("-endian")
    if order not in ("", "little", "big"):
        raise _bad_type(f"endianness is little-endian or big-endian, not {order[:50]!r}")
    if order == "big" and encoding not in ("s16", "l16"):
        raise _bad_type("only 16-bit samples may be big-endian")
    if order and encoding in ("s16", "l16"):
        return "s16be" if order == "big" else "s16"
    return encoding


def _whole(values: dict[str, str], name: str) -> int | None:
    value = values.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 8 and int(value)):
        raise _bad_type(f"{name} is {value[:50]!r}; give a whole number")
    return int(value)


def _bad_type(why: str) -> ApiError:
    return ApiError(400, f"Content-Type: {why}", code="invalid_value", param="content-type")


# -- reading -------------------------------------------------------------------------------------


def is_file(head: bytes) -> bool:
    """True if audio begins as a readable file.  head: its first `HEAD_BYTES` bytes."""
    kind = file_type.container_at(lambda at, size: head[at : at + size])
    return kind is not None and not kind.is_rejected


def check_file(encoding: str, head: bytes) -> None:
    """Raises ApiError for audio of a file encoding that does not begin like a file."""
    plain = encoding.strip().lower()
    if plain in FILES and plain not in _WITHOUT_HEADER and not is_file(head):
        raise ApiError(
            400, f"encoding is {plain}, and the audio does not begin like a file; without a header "
            f"it can be {', '.join(ENCODINGS)}", code="invalid_audio", param="encoding",
        )  # fmt: skip


def opened(
    file: BinaryIO, raw: Raw | None, limits: AudioLimits, on_damage: Callable[[str], None]
) -> AudioReader:
    """Opens a seekable file; `raw` is the format that the request states, if any.

    Raises anything that `open_audio` raises.
    """
    file.seek(0)
    head = file.read(_BYTE_ORDER_BYTES if raw and raw.encoding == "l16" else file_type.HEAD_BYTES)
    file.seek(0)
    if raw is not None and is_file(head):
        on_damage("the audio is a file with a header, which counts: the encoding and the sample "
                  "rate of the request were not used")  # fmt: skip
        raw = None
    if raw is None or not head:  # an empty file has the same error in all formats
        try:
            return open_audio(file, limits=limits, on_damage=on_damage)
        except AudioError as error:
            raise type(error)(str(error).replace(_ADVICE, _ADVICE_HERE)) from error
    encoding = raw.encoding
    if encoding == "l16":
        encoding = "s16be" if _is_swapped(head, raw.channels) else "s16"
    form = RawFormat(raw.rate, raw.channels, encoding)
    return open_audio(file, form, limits=limits, on_damage=on_damage)


def _is_swapped(data: bytes, channels: int) -> bool:
    """True if 16-bit samples are smoother when read as big-endian.

    RFC 2586 puts audio/l16 in that order; most clients send the other one.
    """

    def roughness(dtype: str) -> float:
        samples = np.frombuffer(data[: len(data) // 2 * 2], dtype).astype(np.float64)
        return float(np.abs(samples[channels:] - samples[:-channels]).sum())

    return roughness(">i2") < roughness("<i2")
