"""Subtitles: finals are cut into cues, and cues formatted as SubRip and WebVTT.

Sources: SubRip (as libraries read it), WebVTT (W3C, 2019). Reading speed and line length follow
the guidelines of broadcasters: two lines of 42 letters, 17 letters a second.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wheatear.common.arguments import check_number
from wheatear.transcript.results import Final, Word
from wheatear.transcript.segments import join_words

_MAX_CUE_S = 7.0
_MAX_PAUSE_S = 1.0  # between words of one cue
_MIN_CUE_S = 0.001


@dataclass(frozen=True, slots=True)
class CueRules:
    """Rules by which finals are cut into cues. Raises OptionError for values out of range."""

    letters: int = 42
    """Letters in a line; letters of double width count twice."""
    lines: int = 2
    letters_per_second: float = 17.0
    """Reading speed: a cue is shown long enough to be read, unless the next one begins."""
    rolling: bool = False
    """True for captions that move up: each complete line is shown below the previous one."""

    def __post_init__(self) -> None:
        check_number("letters in a line of subtitles", self.letters, 8, 1000, whole=True)
        check_number("lines of a subtitle", self.lines, 1, 100, whole=True)
        speed = self.letters_per_second
        check_number("reading speed of subtitles", speed, 1, 100, "letters a second")


@dataclass(frozen=True, slots=True)
class Cue:
    """One subtitle, times in seconds."""

    start: float
    end: float
    lines: tuple[str, ...]


class CueBuilder:
    """Cuts the finals of one file into cues that do not overlap."""

    def __init__(self, rules: CueRules) -> None:
        self.rules = rules
        self._line_above = ""
        """Last line shown, which a rolling caption repeats above the next one."""
        self._end = 0.0
        """End of the last cue."""

    def cues(self, final: Final) -> Iterator[Cue]:
        """Yields the cues of a final, none of which outlasts it."""
        rules = self.rules
        size = 1 if rules.rolling else rules.lines
        groups = [
            lines[at : at + size]
            for segment in final.segments
            for lines in _split(segment.words, rules.letters)
            for at in range(0, len(lines), size)
        ]
        next_starts = [*(group[0][0].start for group in groups[1:]), final.end]
        for group, next_start in zip(groups, next_starts, strict=False):
            first, last = group[0][0], group[-1][-1]
            lines = tuple(map(join_words, group))
            start = max(self._end, first.start)
            reading_s = sum(map(_width, lines)) / rules.letters_per_second
            preferred = max(last.end, start + max(1.0, reading_s))
            end = max(start + _MIN_CUE_S, min(preferred, max(next_start, first.start)))
            if final.channel is not None:  # channels overlap, and cues must not
                end = max(end, start + min(1.0, reading_s))
            self._end = end
            if rules.rolling:
                above = (self._line_above,) if self._line_above else ()
                self._line_above = lines[-1]
                lines = (*above, *lines)
            yield Cue(start, end, lines)


def format_srt(cue: Cue, number: int, channel: int | None = None) -> str:
    """Returns a cue as an entry of a SubRip file."""
    text = speaker_prefix(channel) + "\n".join(cue.lines).replace("-->", "->")
    return f"{number}\n{_times(cue, ',')}\n{text}\n\n"


def format_vtt(cue: Cue, channel: int | None = None) -> str:
    """Returns a cue as a block of a WebVTT file."""
    text = "\n".join(cue.lines)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if channel is not None:
        text = f"<v {channel}>{text}</v>"
    return f"{_times(cue, '.')}\n{text}\n\n"


def speaker_prefix(channel: int | None) -> str:
    """Returns the label of a line of text, where channels are transcribed separately."""
    return "" if channel is None else f"{channel}: "


Line = list[Word]


def _split(words: Sequence[Word], letters: int) -> Iterator[list[Line]]:
    """Yields lines of at most `letters`, in lists that a long pause or a long duration ends."""
    lines: list[Line] = []
    width = 0  # of the last line
    for word in words:
        if lines:
            first, last = lines[0][0], lines[-1][-1]
            if word.start - last.end > _MAX_PAUSE_S or word.end - first.start > _MAX_CUE_S:
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


def _width(text: str) -> int:
    """Returns the number of letters; Han, Kana and Hangul count twice, combining marks not."""
    return sum(
        2 if unicodedata.east_asian_width(c) in "WF" else int(not unicodedata.combining(c))
        for c in text
    )


def _times(cue: Cue, mark: str) -> str:
    return f"{_clock(cue.start, mark)} --> {_clock(cue.end, mark)}"


def _clock(seconds: float, mark: str) -> str:
    minutes, ms = divmod(round(1000 * seconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{ms // 1000:02}{mark}{ms % 1000:03}"
