"""NeMo manifests: one JSON object per line and utterance, for evaluation and training.

    {"audio_filepath": "clip.flac", "duration": 2.4, "text": "Good morning.", "lang": "en-US"}

`audio_filepath` is absolute or relative to the manifest's folder. `offset` and `duration` choose a
stretch, in seconds; by default it begins and ends with the file. The locale is the first of `lang`,
`target_lang`, `locale`, `language`, `source_lang` that is present.

Source: NVIDIA NeMo's documentation of speech recognition datasets.
"""

import codecs
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from wheatear.errors import ManifestError
from wheatear.evaluate.clips import Clip
from wheatear.model.locales import canonical_locale

_LOCALE_KEYS = ("lang", "target_lang", "locale", "language", "source_lang")
_MAX_SECONDS = 1e9  # excludes numbers such as 1e999, which JSON reads as infinite
_MAX_SHOWN = 5  # invalid lines in an error
_Line = TypeVar("_Line")
_Parsed = TypeVar("_Parsed")
_WIDE = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class InvalidLine:
    """A line that cannot be used."""

    path: Path
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}: {self.reason}"


def manifest_error(problems: Iterable[InvalidLine]) -> ManifestError:
    """The error that names the first invalid lines."""
    ordered = sorted(problems, key=lambda problem: problem.line)
    more = len(ordered) - _MAX_SHOWN
    shown = "; ".join(map(str, ordered[:_MAX_SHOWN]))
    return ManifestError(shown + (f"; and {more} more lines" if more > 0 else ""))


def read_clips(path: Path) -> tuple[list[tuple[int, Clip]], list[InvalidLine]]:
    """Reads the utterances of a manifest with their line numbers, and its invalid lines.

    The locale of a clip is "" if its line has none. Raises ManifestError for an unreadable file.
    """
    parse = lambda line: _clip(_decode_json(line), path.parent)  # noqa: E731
    return parse_lines(path, numbered_lines(path), parse)


def parse_lines(
    path: Path, lines: Iterable[tuple[int, _Line]], parse: Callable[[_Line], _Parsed]
) -> tuple[list[tuple[int, _Parsed]], list[InvalidLine]]:
    """Parses numbered lines; an error of `parse` makes a line invalid."""
    parsed, problems = [], []
    for number, line in lines:
        try:
            parsed.append((number, parse(line)))
        except (ValueError, OSError) as error:
            problems.append(InvalidLine(path, number, str(error)))
    return parsed, problems


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yields numbered lines of a text file, without blank lines and byte order marks.

    A mark may begin any line of concatenated files. Raises ManifestError for an unreadable file.
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
    """Decodes UTF-8.  Raises ValueError for any other bytes."""
    if b"\0" in line:
        raise ValueError("it holds a NUL byte")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 from its byte {error.start + 1} on") from error


def _decode_json(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON ({error})") from error


def _clip(entry: Any, folder: Path) -> Clip:
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
    if not number or not value < _MAX_SECONDS:
        raise ValueError(f"its {key!r} is {value!r}, not a number of seconds")
    if value < 0:
        raise ValueError(f"its {key!r} is negative ({value:.12g})")
    return float(value)
