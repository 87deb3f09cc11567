"""NeMo-style manifests: a JSON line for each utterance, read alike by evaluation and training.

    {"audio_filepath": "clip.flac", "duration": 2.4, "text": "Good morning.", "lang": "en-US"}

`audio_filepath` is absolute or relative to the manifest's folder.  `offset` and `duration`, in
seconds, choose a stretch of it; left out or null, they are its beginning and its end.  The locale
is the first of `lang`, `target_lang`, `locale`, `language`, `source_lang` that is given.

Source: NVIDIA NeMo's documentation of speech recognition datasets.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wheatear.errors import ManifestError
from wheatear.evaluate.clips import Clip
from wheatear.model.locales import canonical_locale

_LOCALE_KEYS = ("lang", "target_lang", "locale", "language", "source_lang")
_ENDLESS = 1e9  # seconds that no recording has; such as 1e999, which JSON reads as infinite
_SHOWN = 5  # bad lines in a message
_WIDE = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class InvalidLine:
    """A line that cannot be used."""

    path: Path
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}: {self.reason}"


def manifest_error(problems: Sequence[InvalidLine]) -> ManifestError:
    """The error that names the first of some lines that cannot be used."""
    more = len(problems) - _SHOWN
    shown = "; ".join(map(str, problems[:_SHOWN]))
    return ManifestError(shown + (f"; and {more} more lines" if more > 0 else ""))


def read_clips(path: Path) -> Iterator[tuple[int, Clip] | InvalidLine]:
    """Each line of a manifest as its number and utterance, or the problem that it has.

    A clip's locale is "" where its line names none.  Raises ManifestError for a file that cannot
    be read.
    """
    for number, line in numbered_lines(path):
        try:
            yield number, _clip(_decoded(line), path.parent)
        except ValueError as error:
            yield InvalidLine(path, number, str(error))


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a text file that hold more than spaces, without byte order marks.

    A mark may begin any line, as it does where files are joined.  Raises ManifestError.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror or error}") from error
    if data.startswith(_WIDE):
        raise ManifestError(f"{path} cannot be read: it is not UTF-8 but UTF-16; save it as UTF-8")
    for number, line in enumerate(data.split(b"\n"), 1):
        bare = line.removeprefix(codecs.BOM_UTF8).rstrip(b"\r")
        if bare.strip():
            yield number, bare


def decode_line(line: bytes) -> str:
    """Raises ValueError for what is no text."""
    if b"\0" in line:
        raise ValueError("it holds a NUL byte")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 from its byte {error.start + 1} on") from error


def _decoded(line: bytes) -> Any:
    """Raises ValueError for what is no JSON."""
    try:
        return json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON ({error})") from error


def _clip(entry: Any, folder: Path) -> Clip:
    """Raises ValueError saying what is wrong with the line."""
    if not isinstance(entry, dict):
        raise ValueError(f"it is {type(entry).__name__}, not an object with fields")  # noqa: TRY004
    name, text = _text(entry, "audio_filepath"), _text(entry, "text")
    if not name:
        raise ValueError(f"its 'audio_filepath' is {entry['audio_filepath']!r}")
    start, seconds = _seconds(entry, "offset"), _seconds(entry, "duration")
    if seconds == 0:
        raise ValueError("its duration is 0 s")
    return Clip(
        _id(entry) or (f"{name}@{start:g}" if start else name),
        folder / name,
        _locale(entry),
        text,
        start or 0.0,
        seconds,
        {key: str(value) for key, value in entry.items() if isinstance(value, str | int | bool)},
    )


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise ValueError(  # noqa: TRY004
            f"its {key!r} is {value!r}, not a string" if key in entry else f"it has no {key!r}"
        )
    if not value.isprintable() and ("\0" in value or any("\ud800" <= c <= "\udfff" for c in value)):
        raise ValueError(f"its {key!r} holds a NUL or half of a character: {value!r}")
    return value.strip()


def _id(entry: dict[str, Any]) -> str:
    value = entry.get("id")
    usable = isinstance(value, str | int) and not isinstance(value, bool)
    return str(value).encode("utf-8", "backslashreplace").decode() if usable else ""


def _locale(entry: dict[str, Any]) -> str:
    for key in _LOCALE_KEYS:
        value = entry.get(key)
        if not isinstance(value, str | None):
            raise ValueError(f"its {key!r} is {value!r}, not a locale such as 'en-US'")  # noqa: TRY004
        if value and value.strip():
            return canonical_locale(value)
    return ""


def _seconds(entry: dict[str, Any], key: str) -> float | None:
    value = entry.get(key)
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not value < _ENDLESS:
        raise ValueError(f"its {key!r} is {value!r}, not a number of seconds")
    if value < 0:
        raise ValueError(f"its {key!r} is negative ({value:.12g})")
    return float(value)
