"""Transcription of a file with the options of a command."""

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
class FileTranscriber:
    """Recognizer and options of all files of a command."""

    recognizer: Recognizer
    options: StreamOptions
    format: TranscriptFormat
    cues: CueRules
    separate_channels: bool = False
    """True to transcribe each channel separately."""
    raw: RawFormat | None = None
    """Format of input without a header."""

    def open(self, name: str, on_damage: Callable[[str], None]) -> AudioReader:
        """Opens a file whose reading ends between two blocks on a signal."""
        audio = open_audio(name, self.raw, self.separate_channels, on_damage=on_damage)
        audio.watch(interrupts.check)
        return audio

    def writer(self, out: TextIO, name: str) -> Writer:
        """Makes the writer for the events of a file."""
        late = TextFormatter(self.options.text_format, self.options.phrases).changes_finals
        return create_writer(self.format, out, name, self.cues, partials=not late)

    def run(self, audio: AudioReader, on_event: Callable[[Event], None]) -> float:
        """Transcribes a file and returns its duration in seconds."""
        if not self.separate_channels:
            found = self.recognizer.transcribe(audio, self.options, on_event=on_event)
            return found.duration
        return transcribe_channels(self.recognizer, audio, on_event, self.options)


def error_sentence(error: Exception, name: str) -> str:
    """Returns an error message that names the file."""
    match error:
        case WheatearError():
            return str(error)
        case MemoryError():
            return f"{name}: not enough memory to transcribe it"
        case OSError():
            where = "" if error.filename is None else f" ({error.filename})"
            return f"{name}: {error.strerror or error}{where}"
    return f"{name}: internal error, please report it ({type(error).__name__}: {error})"


def is_output_broken(error: Exception) -> bool:
    """True if an output cannot be used again: its reader is gone, or the disk is full."""
    final = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return isinstance(error, OSError) and error.errno in final
