"""What is to be done with each file: how to listen to it and how to write it down."""

import errno
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TextIO

from wheatear.audio.reader import AudioReader, RawFormat, open_audio
from wheatear.cli.signals import interrupts
from wheatear.errors import WheatearError
from wheatear.recognizer.channels import transcribe_channels
from wheatear.recognizer.options import StreamOptions
from wheatear.recognizer.recognizer import Recognizer
from wheatear.transcript.formatting import TextFormatter
from wheatear.transcript.results import Event, Final, Partial, Segment, Transcript, Turn
from wheatear.transcript.subtitles import CueRules
from wheatear.transcript.writers import TranscriptFormat, Writer, create_writer


@dataclass(frozen=True)
class Task:
    """The same for all files of a command."""

    recognizer: Recognizer
    options: StreamOptions
    form: TranscriptFormat
    cues: CueRules
    apart: bool
    """Whether channels are transcribed by themselves."""
    raw: RawFormat | None = None
    """Of input without a header."""

    def open(self, name: str, on_damage: Callable[[str], None]) -> AudioReader:
        """Opens a file so that a signal ends its reading between two blocks."""
        audio = open_audio(name, self.raw, self.apart, on_damage=on_damage)
        audio.watch(interrupts.check)
        return audio

    def writer(self, out: TextIO, name: str) -> Writer:
        """Where the events of a file go."""
        late = TextFormatter(self.options.text_format, self.options.phrases).late
        return create_writer(self.form, out, name, self.cues, partials=not late)

    def run(self, audio: AudioReader, on_event: Callable[[Event], None]) -> float:
        """Transcribes a file; its seconds."""
        if not self.apart:
            found = self.recognizer.transcribe(audio, self.options, on_event=on_event)
            return found.duration
        return transcribe_channels(self.recognizer, audio, on_event, self.options)


class Heard:
    """What has been recognized of a file so far, and its way into a writer."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._texts: list[str] = []
        self._partial: Partial | None = None
        """Of the turn that has no final yet."""
        self.words = 0
        """Those of finals."""
        self.language: str | None = None
        self.end = 0.0

    def event(self, event: Event, write: bool = True) -> None:
        """Takes an event.  write: False for what a terminal shows otherwise."""
        if isinstance(event, Final):
            self._texts.append(spaced(event, bool(self._texts)))
            self.words += len(event.words)
        if not isinstance(event, Turn):
            self._partial = event if isinstance(event, Partial) else None
            self.language, self.end = event.language, event.end
        if write:
            self._writer.event(event)

    def close(self, audio: AudioReader, duration: float | None) -> None:
        """Ends the transcript.  duration: of audio that was heard to its end; what was said in a
        turn that will get no final is written otherwise."""
        if duration is None and (p := self._partial) is not None:
            whole = Segment(p.text, p.words, p.start, p.end, p.language, None)
            self.event(Final(p.text, p.words, p.start, p.end, p.language, (whole,), ()))
        heard = Transcript("".join(self._texts), self.language, self.end, ())
        if duration is not None:
            heard = replace(heard, duration=duration)
        heard = replace(heard, warnings=audio.warnings)
        self._writer.close(heard, complete=duration is not None)


def spaced(final: Final, after_text: bool) -> str:
    """The text of a final as it follows others."""
    space = after_text and final.words and final.words[0].space_before
    return f" {final.text}" if space else final.text


def fault_of(error: Exception, name: str) -> str:
    """A sentence that names a file and what went wrong with it."""
    match error:
        case WheatearError():
            return str(error)
        case MemoryError():
            return f"{name}: there is not enough memory to transcribe it"
        case OSError():
            where = "" if error.filename is None else f" ({error.filename})"
            return f"{name}: {error.strerror or error}{where}"
    return f"{name}: a fault of Wheatear, please report it ({type(error).__name__}: {error})"


def is_broken(error: Exception) -> bool:
    """True if an output failed for good: its reader went away, or the disk is full."""
    gone = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return isinstance(error, OSError) and error.errno in gone
