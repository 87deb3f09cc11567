"""The model that comes with the package works out of the box, on a human voice."""

import numpy as np
import pytest

import wheatear
from wheatear.audio.reader import sample_speech
from wheatear.convert.verify import edit_distance

SENTENCE = ["i'm", "sorry", "but", "i", "was", "unable", "to", "locate"]
SENTENCE += ["the", "person", "you", "are", "calling"]


@pytest.fixture(scope="module")
def recognizer():
    return wheatear.load()


def test_it_is_small_and_complete(recognizer):
    bundle = recognizer.model
    assert sum(bundle.sizes.values()) < 20e6
    assert recognizer.latencies_ms == (80, 160, 320, 560, 1120)
    locales = {"en-US", "es-US", "fr-CA", "it-IT", "pt-BR", "de-DE", "ru-RU", "auto"}
    assert locales <= set(recognizer.languages)
    assert "MODEL_CARD.md" in bundle.sizes
    assert "CC-BY-SA-4.0" in bundle.manifest.license
    assert "Allison Smith" in bundle.notices()["NOTICE"]


def test_its_words_have_times(recognizer):
    """The sentence lasts from 0.2 to 3.7 s; its words come corrected for the model's delay."""
    assert set(recognizer.model.manifest.delays_ms) == set(recognizer.latencies_ms)
    words = recognizer.transcribe(sample_speech(), latency_ms=1120).words
    assert words[0].start < 0.45
    assert words[-1].text.startswith("calling")
    assert 3.0 < words[-1].start < words[-1].end < 3.92


def test_end_of_the_sentence_is_recognized(recognizer):
    """Far from perfect (see its model card), but the words of the sentence."""
    transcript = recognizer.transcribe(sample_speech(), latency_ms=560)
    recognized = transcript.text.lower().strip(" .?!").replace(",", "").split()
    assert recognized[-3:] == SENTENCE[-3:]
    assert edit_distance(SENTENCE, recognized) / len(SENTENCE) < 0.7
    assert transcript.language in (None, "en-US")


@pytest.mark.parametrize("latency", [80, 160, 320, 560, 1120])
def test_stream_equals_file(recognizer, latency):
    stream = recognizer.stream(language="en-US", latency_ms=latency)
    for block in np.array_split(sample_speech(), 23):
        stream.push(block)
    file = recognizer.transcribe(sample_speech(), language="en-US", latency_ms=latency)
    assert stream.finish() == file
    assert file.text


def test_silence_has_no_text_and_noise_has_little(recognizer):
    assert recognizer.transcribe(np.zeros(160_000, np.int16)).text == ""
    noise = np.random.default_rng(0).standard_normal(160_000).astype(np.float32) / 100
    assert len(recognizer.transcribe(noise).text.split()) <= 2
