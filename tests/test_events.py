"""What a stream says of its tokens: words, segments and confidence, however it was cut."""

import numpy as np
import pytest
from conftest import speech
from hypothesis import given, settings
from hypothesis import strategies as st

import wheatear
from wheatear.audio import sample_speech
from wheatear.segments import text_of


@settings(max_examples=20, deadline=None)
@given(
    size=st.integers(1, 9000),
    length=st.integers(0, 48_000),
    latency=st.sampled_from([80, 160, 320, 560, 1120]),
    language=st.sampled_from(["auto", "en-US"]),
)
def test_words_and_segments_are_the_text(recognizer_of, size, length, latency, language):
    recognizer = recognizer_of("tiny-multi")
    samples = speech("tiny-multi")[:length]
    stream = recognizer.stream(latency_ms=latency, language=language)
    events = []
    for start in range(0, length, size):
        events += stream.push(samples[start : start + size])
    transcript = stream.finish()
    assert text_of(transcript.words).split() == transcript.text.split()
    assert [w for s in transcript.segments for w in s.words] == list(transcript.words)
    # Events tell every word; one that was still being said is told again, longer.
    told: dict[float, wheatear.Word] = {}
    for event in [*events, *stream.last_events]:
        for word in event.words:
            if word.start in told:
                assert word.text.startswith(told[word.start].text)
            told[word.start] = word
    assert [word.text for word in told.values()] == [word.text for word in transcript.words]
    for before, after in zip(transcript.words, transcript.words[1:], strict=False):
        assert before.end <= after.start
    assert all(0 < token.confidence <= 1 for token in transcript.tokens)
    assert all(0 < word.confidence <= 1 for word in transcript.words)


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
