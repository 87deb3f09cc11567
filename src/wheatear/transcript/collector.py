"""TranscriptCollector: the transcript of a stream from its events, written as it grows."""

from collections.abc import Sequence

from wheatear.transcript.results import Event, Final, Partial, Segment, Transcript, Turn
from wheatear.transcript.segments import continued_text
from wheatear.transcript.writers import Writer


class TranscriptCollector:
    """Collects the finals of a stream, and passes its events to writers."""

    def __init__(self, *writers: Writer) -> None:
        self._writers = writers
        self._texts: list[str] = []
        self.partial: Partial | None = None
        """Latest partial of a turn without a final."""
        self.word_count = 0
        """Number of words in finals."""
        self.language: str | None = None
        self.end = 0.0
        """End of the last event in seconds."""

    def add(self, event: Event, write: bool = True) -> None:
        """Takes an event.  write: False if the writers must not get it."""
        if isinstance(event, Final):
            self._texts.append(continued_text(event, bool(self._texts)))
            self.word_count += len(event.words)
        if not isinstance(event, Turn):
            self.partial = event if isinstance(event, Partial) else None
            self.language, self.end = event.language, event.end
        if write:
            for writer in self._writers:
                writer.event(event)

    def close(self, duration: float | None, warnings: Sequence[str] = ()) -> None:
        """Ends the transcript.

        Args:
            duration: Length of the audio in seconds; None if it was not read to its end. Then an
                open turn is written as a final.
            warnings: Sentences about missing audio.
        """
        complete = duration is not None
        if not complete and (p := self.partial) is not None:
            segment = Segment(p.text, p.words, p.start, p.end, p.language, None)
            self.add(Final(p.text, p.words, p.start, p.end, p.language, (segment,), ()))
        transcript = Transcript(
            "".join(self._texts),
            self.language,
            self.end if duration is None else duration,
            (),
            warnings=tuple(warnings),
        )
        for writer in self._writers:
            writer.close(transcript, complete)
