"""What is to be done with each file: how to listen to it and how to write it down."""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

from wheatear.audio.pcm import RawFormat
from wheatear.audio.reader import AudioReader, open_audio
from wheatear.cli.signals import interrupts
from wheatear.errors import WheatearError
from wheatear.recognizer.channels import transcribe_channels
from wheatear.recognizer.options import StreamOptions
from wheatear.recognizer.recognizer import Recognizer
from wheatear.transcript.formatting import TextFormatter
from wheatear.transcript.results import Event
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
        late = TextFormatter(self.options.text_format, self.options.phrases).changes_finals
        return create_writer(self.form, out, name, self.cues, partials=not late)

    def run(self, audio: AudioReader, on_event: Callable[[Event], None]) -> float:
        """Transcribes a file; its seconds."""
        if not self.apart:
            found = self.recognizer.transcribe(audio, self.options, on_event=on_event)
            return found.duration
        return transcribe_channels(self.recognizer, audio, on_event, self.options)


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
