"""Finals made of words, for tests of what is written."""

from wheatear.transcript.results import Final, Segment, Token, Word
from wheatear.transcript.segments import join_words


def final_of(words: list[Word], start: float, end: float) -> Final:
    segments = (
        Segment(join_words(words), tuple(words), words[0].start, words[-1].end, "en-US", 0.9),
    )
    token = Token(1, f" {join_words(words)}", start, start + 0.08, 0.5)
    return Final(
        join_words(words), tuple(words), start, end, "en-US", segments if words else (), (token,)
    )


def turns(*gaps: list[tuple[str, float, float]]) -> list[Final]:
    """Returns a final for each list of words (text, pause before it, length)."""
    found, time, started = [], 0.0, 0.0
    for turn in gaps:
        words = []
        for text, pause, length in turn:
            words.append(Word(text, time + pause, time + pause + length, 0.8))
            time += pause + length
        time += 0.6
        found.append(final_of(words, started, time))
        started = time
    return found
