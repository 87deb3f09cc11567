"""NeMo-style manifests: a JSON line for each utterance, checked before anything is trained on.

    {"audio_filepath": "clip.flac", "duration": 2.4, "text": "Good morning.", "lang": "en-US"}

`audio_filepath` is relative to the manifest's folder or absolute; `offset` (seconds, default 0)
and `duration` choose a stretch of it.  Without `duration` the file is taken to its end.  The
locale may stand under `lang`, `target_lang` or `locale`.  `.pcm` files are int16 little-endian,
16 kHz, mono; everything else is what libsndfile reads, at any rate and number of channels.

Source: NVIDIA NeMo's documentation of speech recognition datasets.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wheatear.errors import ManifestError
from wheatear.evaluate.clips import read_stretch, stored_audio
from wheatear.train.augment import Samples
from wheatear.train.mel import SAMPLE_RATE

BadLines = Literal["refuse", "skip"]
_LOCALE_KEYS = ("lang", "target_lang", "locale")
_SHOWN = 5  # bad lines in a message


@dataclass(frozen=True)
class Utterance:
    """One sentence of a corpus."""

    path: Path
    start: int
    """First sample in the file, counted at 16 kHz."""
    size: int
    """Samples at 16 kHz."""
    text: str
    locale: str

    def read(self) -> Samples:
        """float32 samples [n] at 16 kHz, mono."""
        return read_stretch(self.path, self.start, self.size)


def read_manifest(
    path: Path,
    bad_lines: BadLines = "refuse",
    locale: str | None = None,
    warn: Callable[[str], None] = print,
) -> list[Utterance]:
    """The utterances of a manifest, every one with its audio there.

    locale: that of lines which name none.  warn: called with a line about each skipped one.

    Raises ManifestError naming file and line: for the first lines that cannot be used (unless
    bad_lines is "skip"), and for a manifest that cannot be read or holds no usable line.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ManifestError(
            f"the manifest {path} cannot be read: {error.strerror or error}"
        ) from error
    found, problems = [], []
    for number, line in enumerate(raw.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            found.append(_utterance(line, path.parent, locale))
        except ValueError as error:
            problems.append(f"{path}, line {number}: {error}")
    if problems and bad_lines == "refuse":
        more = len(problems) - _SHOWN
        shown = "; ".join(problems[:_SHOWN]) + (f"; and {more} more lines" if more > 0 else "")
        raise ManifestError(f"{shown}. Mend them, or leave them out with --bad-lines skip")
    for problem in problems:
        warn(f"skipped {problem}")
    if not found:
        raise ManifestError(f"the manifest {path} holds no usable line")
    return found


def _utterance(raw: bytes, folder: Path, locale: str | None) -> Utterance:
    """Raises ValueError saying what is wrong with the line."""
    try:
        entry = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON ({error})") from error
    if not isinstance(entry, dict):
        raise ValueError(f"it is {type(entry).__name__}, not an object with fields")  # noqa: TRY004
    text = _text(entry, "text")
    audio = folder / _text(entry, "audio_filepath")
    named = next((entry[key] for key in _LOCALE_KEYS if key in entry), locale)
    if not isinstance(named, str) or not named:
        raise ValueError("it names no locale: add 'lang', or give --locale")
    try:
        _rate, stored = stored_audio(audio)
    except (OSError, RuntimeError) as error:
        what = "cannot be read" if audio.exists() else "is not there"
        raise ValueError(f"its audio {audio} {what}") from error
    offset = _seconds(entry, "offset", 0.0)
    duration = _seconds(entry, "duration", stored - offset)
    if duration < 0.01:
        raise ValueError(f"its duration is {duration:g} s")
    # Durations are often rounded up: let a manifest be wrong by a tenth of a second.
    if offset + duration > stored + 0.1:
        raise ValueError(
            f"it ends at {offset + duration:g} s, but {audio} has {stored:g} s of audio"
        )
    start = round(offset * SAMPLE_RATE)
    size = min(round(duration * SAMPLE_RATE), round(stored * SAMPLE_RATE) - start)
    if size < 1:
        raise ValueError(f"it starts at {offset:g} s, where {audio} has ended")
    return Utterance(audio, start, size, text, named)


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"it has no {key!r}" if key not in entry else f"its {key!r} is {value!r}")
    return value.strip()


def _seconds(entry: dict[str, Any], key: str, default: float) -> float:
    value = entry.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"its {key!r} is {value!r}, not a number of seconds")
    if value < 0:
        raise ValueError(f"its {key!r} is negative ({value:g})")
    return float(value)
