"""Transcripts as files: subtitles, tables, JSON; each grows as the audio goes.

A writer gets the events of a stream and writes what is final at once, so that whatever ends the
program, nothing that was final is lost.

Sources: SubRip (as libraries read it), WebVTT (W3C, 2019), NIST's ctm, Whisper's tsv, OpenAI's
verbose_json.  Reading speed and line length follow what broadcasters ask for: two lines of 42
letters, 17 letters a second.
"""

import json
import math
import unicodedata
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TextIO, get_args

from wheatear.common.arguments import check_number
from wheatear.common.terminal_text import printable, readable
from wheatear.transcript.results import Event, Final, Partial, Segment, Transcript, Word

Format = Literal["txt", "json", "jsonl", "verbose_json", "srt", "vtt", "tsv", "ctm"]
FORMATS: tuple[Format, ...] = get_args(Format)
_LONGEST_CUE = 7.0  # seconds
_PAUSE = 1.0  # seconds between words that do not share a cue
_SHORTEST = 0.001


@dataclass(frozen=True, slots=True)
class CueRules:
    """How subtitles are cut."""

    letters: int = 42
    """In a line; letters of double width count twice."""
    lines: int = 2
    letters_per_second: float = 17.0
    """Reading speed: a cue stays on for as long, if the next one lets it."""
    rolling: bool = False
    """Lines that move up: each is shown when it is complete, with the one before above it."""

    def __post_init__(self) -> None:
        check_number("letters in a line of subtitles", self.letters, 8, 1000, whole=True)
        check_number("lines of a subtitle", self.lines, 1, 100, whole=True)
        speed = self.letters_per_second
        check_number("reading speed of subtitles", speed, 1, 100, "letters a second")


@dataclass(frozen=True, slots=True)
class Cue:
    """One subtitle."""

    start: float
    end: float
    lines: tuple[str, ...]


class Writer(ABC):
    """Writes one file's transcript."""

    def __init__(self, out: TextIO, name: str) -> None:
        """name: of the audio, for formats that tell it."""
        self.out, self.name = out, readable(name)

    @abstractmethod
    def final(self, final: Final) -> None:
        """Writes a turn."""

    def event(self, event: Event) -> None:
        """Writes what is final, and lets it out of the program."""
        if isinstance(event, Final):
            self.final(event)
            self.out.flush()

    def close(self, transcript: Transcript, complete: bool) -> None:
        """Writes what comes at the end.  complete: whether the audio was heard to its end."""
        self.out.flush()


def writer(
    format: Format,  # noqa: A002
    out: TextIO,
    name: str,
    cues: CueRules = CueRules(),
    partials: bool = True,
) -> Writer:
    """The writer of a format.  partials: whether finals begin with what partials said, so that
    plain text may be written before it is final."""
    match format:
        case "txt":
            return _Txt(out, name, partials)
        case "srt":
            return _Srt(out, name, cues)
        case "vtt":
            return _Vtt(out, name, cues)
        case _:
            return {
                "json": _Json, "jsonl": _JsonLines, "verbose_json": _VerboseJson,
                "tsv": _Tsv, "ctm": _Ctm,
            }[format](out, name)  # fmt: skip


# -- text and tables


class _Txt(Writer):
    """A line for each turn, as it is said."""

    def __init__(self, out: TextIO, name: str, partials: bool) -> None:
        super().__init__(out, name)
        self._partials = partials
        self._written = 0

    def event(self, event: Event) -> None:
        if isinstance(event, Partial) and self._partials:
            self._grow(event.text)
            self.out.flush()
        super().event(event)

    def final(self, final: Final) -> None:
        self._grow(_speaker(final) + final.text if final.text else "")
        if self._written:
            self.out.write("\n")
        self._written = 0

    def _grow(self, text: str) -> None:
        self.out.write(text[self._written :])
        self._written = len(text)


class _Tsv(Writer):
    """start, end (milliseconds) and text of each segment."""

    def __init__(self, out: TextIO, name: str) -> None:
        super().__init__(out, name)
        out.write("start\tend\ttext\n")

    def final(self, final: Final) -> None:
        for s in final.segments:
            text = _speaker(final) + " ".join(s.text.split())
            self.out.write(f"{_ms(s.start)}\t{_ms(s.end)}\t{text}\n")


class _Ctm(Writer):
    """name, channel, start, duration, word, confidence of each word."""

    def final(self, final: Final) -> None:
        name = printable(self.name).replace(" ", "_") or "-"
        for w in final.words:
            times = f"{w.start:.3f} {w.end - w.start:.3f}"
            channel = final.channel or 1
            self.out.write(f"{name} {channel} {times} {w.text} {w.confidence:.3f}\n")


# -- JSON


class _JsonLines(Writer):
    """An object for each turn, a line each."""

    def final(self, final: Final) -> None:
        self.out.write(_json({"file": self.name, **asdict(final)}) + "\n")


class _Listed(Writer):
    """An object whose long list is written as it comes, and the rest after it."""

    def __init__(self, out: TextIO, name: str, head: dict[str, Any], key: str) -> None:
        super().__init__(out, name)
        out.write(_json(head)[:-1] + f', "{key}": [')
        self._any = False

    def _item(self, item: dict[str, Any]) -> None:
        self.out.write((",\n" if self._any else "\n") + _json(item))
        self._any = True

    def _end(self, rest: dict[str, Any]) -> None:
        self.out.write("\n], " + _json(rest)[1:] + "\n")
        self.out.flush()


class _Json(_Listed):
    """Everything there is."""

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


class _VerboseJson(_Listed):
    """OpenAI's."""

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
        rest = {"language": t.language, "duration": t.duration, "text": t.text}
        warned = {"warnings": t.warnings} if t.warnings else {}
        self._end(rest | warned | {"words": self._words})


def openai_segment(segment: Segment, number: int, channel: int | None = None) -> dict[str, Any]:
    """A segment as OpenAI's verbose_json has it."""
    s = segment
    sure = sum(math.log(max(w.confidence, 1e-9)) for w in s.words) / max(1, len(s.words))
    return {
        "id": number, "seek": 0, "start": s.start, "end": s.end, "text": s.text,
        "tokens": [], "temperature": 0.0, "avg_logprob": round(sure, 4),
        "compression_ratio": _compression(s.text), "no_speech_prob": 0.0,
        **({} if channel is None else {"channel": channel}),
    }  # fmt: skip


def openai_word(word: Word) -> dict[str, Any]:
    """A word as OpenAI's verbose_json has it."""
    return {"word": word.text, "start": word.start, "end": word.end}


def _speaker(final: Final) -> str:
    """Who says it, where channels are apart."""
    return "" if final.channel is None else f"{final.channel}: "


def _compression(text: str) -> float:
    """How well zlib packs the text, as Whisper measures repetition."""
    raw = text.encode()
    return round(len(raw) / len(zlib.compress(raw)), 4)


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


# -- subtitles


class _Srt(Writer):
    def __init__(self, out: TextIO, name: str, rules: CueRules) -> None:
        super().__init__(out, name)
        self._cutter = CueCutter(rules)
        self._number = 0

    def final(self, final: Final) -> None:
        for cue in self._cutter.cues(final):
            self._number += 1
            text = _speaker(final) + "\n".join(cue.lines).replace("-->", "->")
            times = f"{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}"
            self.out.write(f"{self._number}\n{times}\n{text}\n\n")


class _Vtt(Writer):
    def __init__(self, out: TextIO, name: str, rules: CueRules) -> None:
        super().__init__(out, name)
        self._cutter = CueCutter(rules)
        out.write("WEBVTT\n\n")

    def final(self, final: Final) -> None:
        for cue in self._cutter.cues(final):
            text = "\n".join(cue.lines)
            text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            if final.channel is not None:
                text = f"<v {final.channel}>{text}</v>"
            times = f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}"
            self.out.write(f"{times}\n{text}\n\n")


class CueCutter:
    """Cuts the turns of one file into cues that do not overlap."""

    def __init__(self, rules: CueRules) -> None:
        self.rules = rules
        self._above = ""
        """The line that a rolling caption shows above the next one."""
        self._last = 0.0

    def cues(self, final: Final) -> Iterator[Cue]:
        """The cues of a turn; they begin with its first word and end before the next turn."""
        rules = self.rules
        groups = [
            group
            for segment in final.segments
            for lines in _split(segment.words, rules.letters)
            for group in _grouped(lines, 1 if rules.rolling else rules.lines)
        ]
        if not groups:  # silence
            return
        starts = [group[0][0].start for group in groups]
        for group, next_start in zip(groups, [*starts[1:], final.end], strict=True):
            words = [word for line in group for word in line]
            lines = tuple(_text(line) for line in group)
            start = max(self._last, words[0].start)
            read = sum(map(_width, lines)) / rules.letters_per_second
            wanted = max(words[-1].end, start + max(1.0, read))
            end = max(start + _SHORTEST, min(wanted, max(next_start, words[0].start)))
            if final.channel is not None:  # who talks at the same time comes after it, but comes
                end = max(end, start + min(1.0, read))
            self._last = end
            if rules.rolling:
                shown = (*([self._above] if self._above else []), *lines)
                self._above = lines[-1]
                yield Cue(start, end, shown)
            else:
                yield Cue(start, end, lines)


Line = list[Word]


def _split(words: Sequence[Word], letters: int) -> Iterator[list[Line]]:
    """Lines, in lists that a long pause or a long time divides."""
    lines: list[Line] = []
    width = 0  # of the last line
    for word in words:
        if lines:
            begun, last = lines[0][0].start, lines[-1][-1]
            if word.start - last.end > _PAUSE or word.end - begun > _LONGEST_CUE:
                yield lines
                lines = []
        width += _width(" " * word.space_before + word.text)
        if lines and width <= letters:
            lines[-1].append(word)
        else:
            lines.append([word])
            width = _width(word.text)
    if lines:
        yield lines


def _grouped(lines: list[Line], size: int) -> Iterable[list[Line]]:
    return [lines[at : at + size] for at in range(0, len(lines), size)]


def _text(words: Sequence[Word]) -> str:
    return "".join(" " * word.space_before + word.text for word in words).strip()


def _width(text: str) -> int:
    """Letters, those of double width (Han, Kana, Hangul) twice, combining marks not at all."""
    return sum(
        2 if unicodedata.east_asian_width(c) in "WF" else int(not unicodedata.combining(c))
        for c in text
    )


def _ms(seconds: float) -> int:
    return round(1000 * seconds)


def _clock(seconds: float, mark: str) -> str:
    minutes, ms = divmod(_ms(seconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{ms // 1000:02}{mark}{ms % 1000:03}"
