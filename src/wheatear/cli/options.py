"""What commands that transcribe have in common: how to listen, and how to write."""

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
class Asked:
    """How to listen and how to write; options of the command line."""

    language: Annotated[
        str, Parameter(help='Locale, language or auto; "wheatear locales" lists them.')
    ] = AUTO
    latency: Annotated[
        int | None,
        Parameter(
            help="Milliseconds of each chunk: less is quicker, more is more accurate. If left out, "
            "files run at the longest and live audio at the model's default latency; \"wheatear "
            'info" lists them.'
        ),
    ] = None
    phrase: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            help="A name or term to listen for; may be given several times. 'Nguyen Van ^2 | win "
            "van' favours it twice as much, and writes it where 'win van' is heard.",
        ),
    ] = ()
    phrases: Annotated[
        Path | None, Parameter(help="File of phrases, a line each; lines with # are remarks.")
    ] = None
    beam: Annotated[
        int,
        Parameter(
            help="Readings of what was said that are followed at a time; more is slower and "
            "mostly better. 1 follows none but the likeliest (greedy search)."
        ),
    ] = 1
    language_model: Annotated[
        Path | None,
        Parameter(help="ARPA file over the model's pieces, for a beam to weigh in."),
    ] = None
    language_model_weight: Annotated[float, Parameter(help="How much it counts.")] = 0.3
    punctuation: Annotated[
        bool, Parameter(help="Write punctuation.", negative="--no-punctuation")
    ] = True
    capitals: Annotated[bool, Parameter(help="Write capitals.", negative="--no-capitals")] = True
    numbers: Annotated[
        Literal["spoken", "written"],
        Parameter(help="Numbers as words, or in digits (needs the extra wheatear[numbers])."),
    ] = "spoken"
    mask: Annotated[
        Path | None, Parameter(help="File of words to show as asterisks, a line each.")
    ] = None
    voice: Annotated[
        Voice,
        Parameter(
            help="What keeps a turn from ending: words alone, loudness too, or a voice detector "
            "(needs the extra wheatear[vad])."
        ),
    ] = "energy"
    turn_end: Annotated[
        int, Parameter(help="Milliseconds of silence after which a turn is over.")
    ] = 800

    def options(self, recognizer: Recognizer) -> StreamOptions:
        """Options of the stream.  Raises WheatearError for what makes no sense."""
        try:
            usual, end = TurnRules(), self.turn_end
            eager, sentence_end = min(usual.eager_ms, end), min(usual.sentence_end_ms, end)
            turns = TurnRules(eager, end, sentence_end, voice=self.voice)
            beam = self._beam(recognizer)
        except ValueError as error:
            raise (
                error if isinstance(error, WheatearError) else WheatearError(str(error))
            ) from error
        masked = frozenset(_lines(self.mask)) if self.mask else frozenset()
        given = [*self.phrase, *(_lines(self.phrases) if self.phrases else [])]
        return StreamOptions(
            language=self.language,
            latency_ms=self.latency,
            turns=turns,
            phrases=tuple(map(parse_phrase, given)),
            beam=beam,
            text_format=TextFormat(self.punctuation, self.capitals, self.numbers, masked),
            keep=False,
        )

    def _beam(self, recognizer: Recognizer) -> BeamRules | None:
        if self.language_model is None:
            return None if self.beam == 1 else BeamRules(self.beam)
        if self.beam == 1:
            raise WheatearError("a language model is weighed in by a beam: give --beam 4, say")
        model = read_arpa(self.language_model, recognizer.model.vocabulary)
        return BeamRules(self.beam, model=model, model_weight=self.language_model_weight)


def parse_phrase(line: str) -> Phrase:
    """`text ^weight | alias | alias`, of which all but the text may be left out."""
    text, *aliases = (part.strip() for part in readable(line).split("|"))
    text, mark, weight = text.partition("^")
    try:
        number = float(weight) if mark else 1.0
    except ValueError as error:
        raise WheatearError(f"the phrase {line!r} has the weight {weight!r}, no number") from error
    return Phrase(text.strip(), number, tuple(aliases))


def _lines(path: Path) -> list[str]:
    try:
        lines = map(str.strip, read_text(path).splitlines())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WheatearError(f"cannot read {path}: {reason}") from error
    return [line for line in lines if line and not line.startswith("#")]
