"""Options that the commands transcribe and listen share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from wheatear.audio.vad import Voice
from wheatear.common.terminal_text import readable
from wheatear.common.text_files import read_text
from wheatear.decoder.beam import BeamRules
from wheatear.decoder.boosting import Phrase
from wheatear.decoder.language_model import read_arpa
from wheatear.errors import WheatearError
from wheatear.model.languages import AUTO
from wheatear.recognizer.options import StreamOptions
from wheatear.recognizer.recognizer import Recognizer
from wheatear.transcript.formatting import TextFormat
from wheatear.transcript.turns import TurnRules


@Parameter(name="*")
@dataclass(frozen=True)
class TranscriptionOptions:
    """Options of recognition and of the text."""

    language: Annotated[
        str, Parameter(help='Locale, language or auto; see "wheatear locales".')
    ] = AUTO
    latency: Annotated[
        int | None,
        Parameter(
            help="Latency in milliseconds; longer is more accurate. By default the longest for "
            'files, and the model\'s default for live audio. "wheatear info" lists them.'
        ),
    ] = None
    phrase: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            help="Name or term to boost; may be repeated. 'Nguyen Van ^2 | win van' gives it twice "
            "the weight, and writes it for 'win van' too.",
        ),
    ] = ()
    phrases: Annotated[
        Path | None, Parameter(help="File with a phrase on each line; lines with # are comments.")
    ] = None
    beam: Annotated[
        int,
        Parameter(
            help="Number of hypotheses in beam search; more are slower and usually more accurate. "
            "1 is greedy search."
        ),
    ] = 1
    language_model: Annotated[
        Path | None,
        Parameter(help="Language model for beam search: an ARPA file over the model's pieces."),
    ] = None
    language_model_weight: Annotated[float, Parameter(help="Weight of the language model.")] = 0.3
    punctuation: Annotated[
        bool, Parameter(help="Write punctuation.", negative="--no-punctuation")
    ] = True
    capitals: Annotated[bool, Parameter(help="Write capitals.", negative="--no-capitals")] = True
    numbers: Annotated[
        Literal["spoken", "written"],
        Parameter(help="Numbers in words, or in digits (extra wheatear[numbers])."),
    ] = "spoken"
    mask: Annotated[
        Path | None, Parameter(help="File of words to mask with asterisks, one per line.")
    ] = None
    voice: Annotated[
        Voice,
        Parameter(
            help="Voice activity that keeps a turn open: words only, energy, or the Silero "
            "detector (extra wheatear[vad])."
        ),
    ] = "energy"
    turn_end: Annotated[int, Parameter(help="Milliseconds of silence that end a turn.")] = 800

    def stream_options(self, recognizer: Recognizer) -> StreamOptions:
        """Returns the options of a stream.  Raises WheatearError for invalid values."""
        try:
            default, end = TurnRules(), self.turn_end
            eager, sentence_end = min(default.eager_ms, end), min(default.sentence_end_ms, end)
            turns = TurnRules(eager, end, sentence_end, voice=self.voice)
            beam = self._beam(recognizer)
        except WheatearError:
            raise
        except ValueError as error:
            raise WheatearError(str(error)) from error
        masked = frozenset(read_entries(self.mask)) if self.mask else frozenset()
        phrases = [*self.phrase, *(read_entries(self.phrases) if self.phrases else [])]
        return StreamOptions(
            language=self.language,
            latency_ms=self.latency,
            turns=turns,
            phrases=tuple(map(parse_phrase, phrases)),
            beam=beam,
            text_format=TextFormat(self.punctuation, self.capitals, self.numbers, masked),
            keep=False,
        )

    def _beam(self, recognizer: Recognizer) -> BeamRules | None:
        if self.language_model is None:
            return None if self.beam == 1 else BeamRules(self.beam)
        if self.beam == 1:
            raise WheatearError("a language model needs beam search: give --beam 4, for example")
        model = read_arpa(self.language_model, recognizer.model.vocabulary)
        return BeamRules(self.beam, model=model, model_weight=self.language_model_weight)


def parse_phrase(line: str) -> Phrase:
    """Parses `text ^weight | alias | alias`, of which only the text is required."""
    text, *aliases = (part.strip() for part in readable(line).split("|"))
    text, mark, weight = text.partition("^")
    try:
        number = float(weight) if mark else 1.0
    except ValueError as error:
        raise WheatearError(f"the phrase {line!r} has the weight {weight!r}, no number") from error
    return Phrase(text.strip(), number, tuple(aliases))


def read_entries(path: Path) -> list[str]:
    """Reads the lines of a file without empty ones and comments.  Raises WheatearError."""
    try:
        lines = map(str.strip, read_text(path).splitlines())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WheatearError(f"cannot read {path}: {reason}") from error
    return [line for line in lines if line and not line.startswith("#")]
