"""Utterances of manifests, checked before training.

`wheatear.evaluate.manifest` reads the lines.  `.pcm` files are int16 little-endian, 16 kHz, mono;
other files may have any format that Wheatear decodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.samples import Samples
from wheatear.errors import AudioError, ManifestError
from wheatear.evaluate.clips import Clip, read_stretch, stored_seconds
from wheatear.evaluate.manifest import manifest_error, parse_lines, read_clips
from wheatear.model.locales import canonical_locale

BadLines = Literal["refuse", "skip"]
_MIN_SECONDS = 0.01
_MAX_OVERRUN = 0.1  # seconds past the end of the file: durations are often rounded up


@dataclass(frozen=True)
class Utterance:
    """One sentence of a corpus and its place in a file."""

    path: Path
    start: int
    """First sample in the file, counted at 16 kHz."""
    size: int
    """Samples at 16 kHz."""
    text: str
    locale: str

    def read(self) -> Samples:
        """Returns float32 samples [n] at 16 kHz, mono."""
        return read_stretch(self.path, self.start, self.size)


def read_manifest(
    path: Path,
    bad_lines: BadLines = "refuse",
    locale: str | None = None,
    warn: Callable[[str], None] = print,
) -> list[Utterance]:
    """Reads the utterances of a manifest and checks that their audio is there.

    Args:
        path: Manifest in JSON lines.
        bad_lines: "refuse" raises for lines that cannot be used, "skip" leaves them out.
        locale: Locale of lines that name none.
        warn: Called with a message for each skipped line.

    Raises:
        ManifestError: The manifest cannot be read, holds no usable line, or has bad lines.
    """
    clips, problems = read_clips(path)
    found, unusable = parse_lines(path, clips, lambda clip: _utterance(clip, locale))
    problems = sorted([*problems, *unusable], key=lambda problem: problem.line)
    if problems and bad_lines == "refuse":
        raise ManifestError(
            f"{manifest_error(problems)}. Mend them, or leave them out with --bad-lines skip"
        )
    for problem in problems:
        warn(f"skipped {problem}")
    if not found:
        raise ManifestError(f"the manifest {path} holds no usable line")
    return [utterance for _, utterance in found]


def _utterance(clip: Clip, locale: str | None) -> Utterance:
    """Makes an utterance of a line.  Raises ValueError with the reason if it cannot be used."""
    if not clip.reference:
        raise ValueError("its 'text' is ''")
    named = clip.locale or canonical_locale(locale or "")
    if not named:
        raise ValueError("it names no locale: add 'lang', or give --locale")
    try:
        stored = stored_seconds(clip.audio)
    except AudioError as error:
        what = f"cannot be read ({error})" if clip.audio.exists() else "is not there"
        raise ValueError(f"its audio {clip.audio} {what}") from error
    start = round(clip.start * SAMPLE_RATE)
    left = round(stored * SAMPLE_RATE) - start
    if left < 1:
        raise ValueError(f"it starts at {clip.start:g} s, where {clip.audio} has ended")
    duration = left / SAMPLE_RATE if clip.seconds is None else clip.seconds
    if duration < _MIN_SECONDS:
        raise ValueError(f"its duration is {duration:g} s")
    if clip.start + duration > stored + _MAX_OVERRUN:
        raise ValueError(
            f"it ends at {clip.start + duration:g} s, but {clip.audio} has {stored:g} s of audio"
        )
    size = min(round(duration * SAMPLE_RATE), left)
    return Utterance(clip.audio, start, size, clip.reference, named)
