"""Writers of transcript files: text, subtitles, tables, JSON.

A writer receives the events of a stream and writes each final at once. Whenever the program
ends, the file has all finals up to that time.

Sources: NIST's ctm, Whisper's tsv, OpenAI's verbose_json.
"""

import io
import json
import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Literal, TextIO, get_args

from wheatear.common.terminal_text import printable, readable
from wheatear.transcript.results import Event, Final, Partial, Segment, Transcript, Word
from wheatear.transcript.subtitles import (
    CueBuilder,
    CueRules,
    format_srt,
    format_vtt,
    speaker_prefix,
)

TranscriptFormat = Literal["txt", "json", "jsonl", "verbose_json", "srt", "vtt", "tsv", "ctm"]
FORMATS: tuple[TranscriptFormat, ...] = get_args(TranscriptFormat)


class Writer(ABC):
    """Writes the transcript of one file."""

    def __init__(self, out: TextIO, name: str) -> None:
        """name: of the audio, for formats that contain it."""
        self.out, self.name = out, readable(name)

    @abstractmethod
    def final(self, final: Final) -> None:
        """Writes a final."""

    def event(self, event: Event) -> None:
        """Writes an event if it is a final, and flushes it."""
        if isinstance(event, Final):
            self.final(event)
            self.out.flush()

    def close(self, transcript: Transcript, complete: bool) -> None:
        """Writes the end of the file.  complete: True if the audio was read to its end."""
        self.out.flush()


def create_writer(
    format: TranscriptFormat,  # noqa: A002
    out: TextIO,
    name: str,
    cues: CueRules = CueRules(),  # noqa: B008
    partials: bool = True,
) -> Writer:
    """Creates the writer of a format.

    Args:
        format: Format of the file.
        out: File that is written to.
        name: Name of the audio.
        cues: Rules of subtitles.
        partials: True if finals begin with the text of their partials, so that plain text may be
            written before it is final.
    """
    match format:
        case "txt":
            return _TextWriter(out, name, partials)
        case "srt":
            return _SrtWriter(out, name, cues)
        case "vtt":
            return _VttWriter(out, name, cues)
        case _:
            return {
                "tsv": _TsvWriter, "ctm": _CtmWriter, "json": _JsonWriter,
                "jsonl": _JsonLinesWriter, "verbose_json": _VerboseJsonWriter,
            }[format](out, name)  # fmt: skip


def format_finals(format: TranscriptFormat, finals: Iterable[Final]) -> str:  # noqa: A002
    """Returns finals in a format without an end, such as the subtitles."""
    out = io.StringIO()
    writer = create_writer(format, out, "")
    for final in finals:
        writer.final(final)
    return out.getvalue()


# -- text, subtitles, tables


class _TextWriter(Writer):
    """A line for each turn, which grows with its partials."""

    def __init__(self, out: TextIO, name: str, partials: bool) -> None:
        super().__init__(out, name)
        self._partials = partials
        self._written = 0

    def event(self, event: Event) -> None:
        if isinstance(event, Partial) and self._partials:
            self._extend(event.text)
            self.out.flush()
        super().event(event)

    def final(self, final: Final) -> None:
        self._extend(speaker_prefix(final.channel) + final.text if final.text else "")
        if self._written:
            self.out.write("\n")
        self._written = 0

    def _extend(self, text: str) -> None:
        self.out.write(text[self._written :])
        self._written = len(text)


class _SrtWriter(Writer):
    def __init__(self, out: TextIO, name: str, rules: CueRules) -> None:
        super().__init__(out, name)
        self._builder = CueBuilder(rules)
        self._number = 0

    def final(self, final: Final) -> None:
        for cue in self._builder.cues(final):
            self._number += 1
            self.out.write(format_srt(cue, self._number, final.channel))


class _VttWriter(Writer):
    def __init__(self, out: TextIO, name: str, rules: CueRules) -> None:
        super().__init__(out, name)
        self._builder = CueBuilder(rules)
        out.write("WEBVTT\n\n")

    def final(self, final: Final) -> None:
        for cue in self._builder.cues(final):
            self.out.write(format_vtt(cue, final.channel))


class _TsvWriter(Writer):
    """Start and end in milliseconds, and text, of each segment."""

    def __init__(self, out: TextIO, name: str) -> None:
        super().__init__(out, name)
        out.write("start\tend\ttext\n")

    def final(self, final: Final) -> None:
        for s in final.segments:
            text = speaker_prefix(final.channel) + " ".join(s.text.split())
            self.out.write(f"{round(1000 * s.start)}\t{round(1000 * s.end)}\t{text}\n")


class _CtmWriter(Writer):
    """Name, channel, start, duration, text and confidence of each word."""

    def final(self, final: Final) -> None:
        name = printable(self.name).replace(" ", "_") or "-"
        for w in final.words:
            times = f"{w.start:.3f} {w.end - w.start:.3f}"
            channel = final.channel or 1
            self.out.write(f"{name} {channel} {times} {w.text} {w.confidence:.3f}\n")


# -- JSON


class _JsonLinesWriter(Writer):
    """One object a line for each final."""

    def final(self, final: Final) -> None:
        self.out.write(_json({"file": self.name, **asdict(final)}) + "\n")


class _JsonListWriter(Writer):
    """An object with a list that grows; its other entries are written at the end."""

    def __init__(self, out: TextIO, name: str, head: dict[str, Any], key: str) -> None:
        super().__init__(out, name)
        out.write(_json(head)[:-1] + f', "{key}": [')
        self._empty = True

    def _item(self, item: dict[str, Any]) -> None:
        self.out.write(("\n" if self._empty else ",\n") + _json(item))
        self._empty = False

    def _end(self, tail: dict[str, Any]) -> None:
        self.out.write("\n], " + _json(tail)[1:] + "\n")
        self.out.flush()


class _JsonWriter(_JsonListWriter):
    """All fields of all finals."""

    def __init__(self, out: TextIO, name: str) -> None:
        super().__init__(out, name, {"file": readable(name)}, "finals")

    def final(self, final: Final) -> None:
        self._item(asdict(final))

    def close(self, transcript: Transcript, complete: bool) -> None:
        t = transcript
        self._end(
            {
                "text": t.text, "language": t.language, "duration": t.duration,
                "warnings": t.warnings, "complete": complete,
            }
        )  # fmt: skip


class _VerboseJsonWriter(_JsonListWriter):
    """OpenAI's verbose_json."""

    def __init__(self, out: TextIO, name: str) -> None:
        super().__init__(out, name, {"task": "transcribe"}, "segments")
        self._words: list[dict[str, Any]] = []
        self._count = 0

    def final(self, final: Final) -> None:
        for s in final.segments:
            self._item(openai_segment(s, self._count, final.channel))
            self._count += 1
        self._words += map(openai_word, final.words)

    def close(self, transcript: Transcript, complete: bool) -> None:
        t = transcript
        tail = {"language": t.language, "duration": t.duration, "text": t.text}
        warnings = {"warnings": t.warnings} if t.warnings else {}
        self._end(tail | warnings | {"words": self._words})


def openai_segment(segment: Segment, number: int, channel: int | None = None) -> dict[str, Any]:
    """Returns a segment with the fields of OpenAI's verbose_json."""
    s = segment
    logprobs = [math.log(max(w.confidence, 1e-9)) for w in s.words]
    raw = s.text.encode()
    return {
        "id": number, "seek": 0, "start": s.start, "end": s.end, "text": s.text,
        "tokens": [], "temperature": 0.0,
        "avg_logprob": round(sum(logprobs) / max(1, len(logprobs)), 4),
        "compression_ratio": round(len(raw) / len(zlib.compress(raw)), 4), "no_speech_prob": 0.0,
        **({} if channel is None else {"channel": channel}),
    }  # fmt: skip


def openai_word(word: Word) -> dict[str, Any]:
    """Returns a word with the fields of OpenAI's verbose_json."""
    return {"word": word.text, "start": word.start, "end": word.end}


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
