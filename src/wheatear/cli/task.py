"""What is to be done with each file: how to listen to it and how to write it down."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

from wheatear.audio import AudioReader
from wheatear.channels import transcribe_channels
from wheatear.formats import CueRules, Format, Writer, writer
from wheatear.forms import FormWriter
from wheatear.recognizer import Recognizer
from wheatear.results import Event, Final


@dataclass(frozen=True)
class Task:
    """The same for all files of a command."""

    recognizer: Recognizer
    options: dict[str, Any]
    """Of `Recognizer.stream`."""
    form: Format
    cues: CueRules
    apart: bool
    """Whether channels are transcribed by themselves; audio must be opened so."""

    def writer(self, out: TextIO, name: str) -> Writer:
        """Where the events of a file go."""
        late = FormWriter(self.options["form"], self.options["phrases"]).late
        return writer(self.form, out, name, self.cues, partials=not late)

    def run(self, audio: AudioReader, on_event: Callable[[Event], None]) -> float:
        """Transcribes a file; its seconds."""
        if not self.apart:
            found = self.recognizer.transcribe(audio, on_event=on_event, keep=False, **self.options)
            return found.duration
        return transcribe_channels(self.recognizer, audio, on_event, **self.options)


def spaced(final: Final, after_text: bool) -> str:
    """The text of a final as it follows others."""
    space = after_text and final.words and final.words[0].space_before
    return f" {final.text}" if space else final.text
