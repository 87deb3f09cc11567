"""The contract of events, for any cut of the samples."""

import numpy as np
import pytest
from checkpoints import speech
from event_contract import check
from hypothesis import given, settings
from hypothesis import strategies as st

import wheatear
from wheatear import Final, Partial, Transcript, Turn, TurnRules
from wheatear.audio.reader import sample_speech
from wheatear.decoder.search import Emission
from wheatear.transcript.builder import TranscriptBuilder
from wheatear.transcript.words import Delay

PIECES = ["", "▁yes", "▁no", "ne", ".", ",", "?", "▁", "今", "日", "<en>", "<fr>", "€"]
TAGS = {10: "en-US", 11: "fr-CA"}


class Words:
    """A vocabulary of pieces; the last is a byte of a longer character."""

    tags = TAGS

    def text(self, token: int) -> str | int:
        if token == len(PIECES) - 1:
            return 0xE2
        return "" if token in TAGS else PIECES[token].replace("\u2581", " ")


TOKENS = st.lists(
    st.tuples(st.integers(0, 25), st.integers(0, len(PIECES) - 1)), max_size=40
)  # frames since the last, token
RULES = st.builds(
    lambda first, second, *more: TurnRules(min(first, second), max(first, second), *more),
    st.integers(80, 900), st.integers(80, 900), st.integers(80, 900), st.integers(1, 10),
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(
    TOKENS, st.lists(st.integers(1, 14), min_size=1, max_size=5), RULES, st.booleans(),
    st.integers(0, 40), st.lists(st.booleans(), max_size=30), st.floats(0, 0.4),
)  # fmt: skip
def test_the_contract_under_whatever_is_found(
    tokens: list[tuple[int, int]],
    chunks: list[int],
    rules: TurnRules,
    has_language: bool,
    tail: int,
    forces: list[bool],
    delay: float,
) -> None:
    found, frame = [], 0
    for gap, token in tokens:
        frame += gap
        found.append(Emission(token, frame, 0.5))
    total = frame + 1 + tail
    duration = (total - 1.6) * 0.08 if total > 1 else 0.03  # the last frame lies beyond

    def run(chunks: list[int], forces: list[bool]) -> tuple[list, Transcript]:
        builder = TranscriptBuilder(Words(), rules, keep=True)  # type: ignore[arg-type]
        builder.switch("en-US" if has_language else None, Delay(delay, delay / 2))
        events, at, n = [], 0, 0
        while at < total:
            if at + chunks[n % len(chunks)] >= total:
                builder.duration = duration
            before, at = at, min(total, at + chunks[n % len(chunks)])
            events += builder.step([f for f in found if before <= f.frame < at], at)
            if n < len(forces) and forces[n]:
                events += builder.force(at)
            n += 1
        events += builder.finish(total)
        transcript = builder.transcript(duration)
        check(events, duration, transcript)
        return [e for e in events if not isinstance(e, Partial)], transcript

    run(chunks, forces)
    # Without the caller's own ends, turns and finals do not depend on the chunks.
    assert run(chunks, []) == run([total], [])


@settings(max_examples=20, deadline=None)
@given(
    size=st.integers(1, 9000),
    length=st.integers(0, 48_000),
    latency=st.sampled_from([80, 160, 320, 560, 1120]),
    language=st.sampled_from(["auto", "en-US"]),
    silence=st.integers(0, 40_000),
)
def test_the_contract_of_a_stream(recognizer_of, size, length, latency, language, silence):
    recognizer = recognizer_of("tiny-multi")
    samples = np.concatenate([speech("tiny-multi")[:length], np.zeros(silence, np.float32)])
    stream = recognizer.stream(latency_ms=latency, language=language)
    events = []
    for start in range(0, len(samples), size):
        events += stream.push(samples[start : start + size])
    transcript = stream.finish()
    events += stream.last_events
    check(events, len(samples) / 16000, transcript)
    assert all(0 < token.confidence <= 1 for token in transcript.tokens)
    assert all(0 < word.confidence <= 1 for word in transcript.words)


def test_punctuation_and_tag_belong_to_the_turn_that_they_end() -> None:
    builder = TranscriptBuilder(Words(), TurnRules(), keep=True)  # type: ignore[arg-type]
    assert [e.kind for e in builder.step([Emission(1, 3, 0.9)], 9) if isinstance(e, Turn)] == [
        "started", "eager",
    ]  # fmt: skip
    ended = builder.step([], 15)
    assert [e.kind for e in ended] == ["ended"]  # the final waits for what may still come
    events = builder.step([Emission(4, 16, 0.9), Emission(10, 16, 0.8)], 17)
    (final,) = (event for event in events if isinstance(event, Final))
    assert (final.text, final.language) == ("yes.", "en-US")
    assert final.segments[0].language_score == 0.8


def test_turn_without_a_full_stop_gets_none() -> None:
    builder = TranscriptBuilder(Words(), TurnRules(), keep=False)  # type: ignore[arg-type]
    builder.switch("en-US", Delay())
    events = builder.step([Emission(1, 3, 0.9)], 40)
    assert [type(e) for e in events] == [Turn, Partial, Turn, Turn, Final]
    assert events[-1].text == "yes"
    assert builder.transcript(3.2).tokens == ()  # it keeps nothing


def test_the_caller_ends_a_turn():
    recognizer = wheatear.load()
    stream = recognizer.stream(latency_ms=80, language="en-US")
    assert stream.end_turn() == []
    first, second = np.array_split(sample_speech(), 2)
    events = stream.push(first)
    ended = stream.end_turn()
    assert isinstance(ended[-1], Final)
    assert any(isinstance(e, Turn) and e.forced for e in ended)
    events += ended + stream.push(second)
    transcript = stream.finish()
    check(events + list(stream.last_events), transcript.duration, transcript)
    whole = recognizer.transcribe(sample_speech(), latency_ms=80, language="en-US")
    assert [t.id for t in whole.tokens] == [t.id for t in transcript.tokens]  # nothing was reset
    assert stream.end_turn() == []


def test_rules_change_mid_stream():
    stream = wheatear.load().stream(latency_ms=80, language="en-US")
    stream.push(sample_speech())
    stream.turns = TurnRules(eager_ms=80, end_ms=160, sentence_end_ms=80)
    assert stream.turns.end_ms == 160
    ended = [e for e in stream.push(np.zeros(8000, np.float32)) if isinstance(e, Turn)]
    assert ended[-1].kind == "ended"


@pytest.mark.parametrize("latency", [80, 560])
def test_confidence_does_not_depend_on_the_cut(latency):
    recognizer = wheatear.load()
    stream = recognizer.stream(latency_ms=latency)
    for block in np.array_split(sample_speech(), 31):
        stream.push(block)
    whole = recognizer.transcribe(sample_speech(), latency_ms=latency)
    cut = [token.confidence for token in stream.finish().tokens]
    assert cut == pytest.approx([token.confidence for token in whole.tokens], abs=1e-4)
    assert len({round(value, 2) for value in cut}) > 3  # never constant


def test_language_and_latency_switch_mid_stream(recognizer_of):
    recognizer = recognizer_of("tiny-multi")
    samples = speech("tiny-multi")[:80_000]
    # A switch before the first samples equals opening the stream like that.
    stream = recognizer.stream(language="en-US", latency_ms=1120)
    stream.switch(language="ja-JP", latency_ms=80)
    stream.push(samples)
    assert stream.finish() == recognizer.transcribe(samples, language="ja-JP", latency_ms=80)
    # Switching to what it is changes nothing; however it is cut, the rest is the same.
    results = []
    for size in (1600, 4000):
        stream = recognizer.stream(language="en-US", latency_ms=560)
        events = []
        for start in range(0, 80_000, size):
            if start == 24_000:
                with pytest.raises(wheatear.LanguageError):
                    stream.switch(language="klingon", latency_ms=160)
                stream.switch(language="ja", latency_ms=160)
            elif start == 48_000:
                stream.switch(language="auto")
            stream.switch()
            events += stream.push(samples[start : start + size])
        transcript = stream.finish()
        check(events + list(stream.last_events), 5.0, transcript)
        results.append(transcript)
    assert results[0] == results[1]
    locales = [segment.language for segment in results[0].segments]
    assert locales[0] == "en-US"
    assert "ja-JP" in locales or results[0].language == "ja-JP"
    plain = recognizer.transcribe(samples, language="en-US", latency_ms=560)
    assert [t.id for t in plain.tokens] != [t.id for t in results[0].tokens]
