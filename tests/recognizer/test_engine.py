"""Steps of many streams, and what the engine shares between them."""

import numpy as np
import pytest
import soundfile
from checkpoints import speech

import wheatear
from wheatear.decoder.beam import BeamRules
from wheatear.decoder.boosting import Phrase
from wheatear.encoder.encoder import Encoder
from wheatear.errors import PhraseError
from wheatear.recognizer.engine import EngineState, Step
from wheatear.recognizer.options import StreamOptions

pytestmark = pytest.mark.usefixtures("engine")


def tokens(steps: list[Step]) -> list[int]:
    return [emission.token for step in steps for emission in step.emissions]


def advance(engine, states: list[EngineState]) -> list[list[Step]]:
    steps: list[list[Step]] = [[] for _ in states]
    for n, step in engine.advance(states):
        steps[n].append(step)
    return steps


@pytest.mark.parametrize("beam", [None, BeamRules(2)])
def test_steps_taken_together_emit_the_tokens_of_single_ones(recognizer_of, beam):
    engine, samples = recognizer_of("tiny-multi").engine, speech("tiny-multi")[:40_000]
    options = [StreamOptions(latency_ms=ms, beam=beam) for ms in (80, 320, 80)]
    single, together = ([engine.start(each) for each in options] for _ in range(2))
    for states in (single, together):
        for n, state in enumerate(states):
            engine.feed(state, samples[n * 900 :])
            engine.end(state)
    expected = [advance(engine, [state])[0] for state in single]
    found = advance(engine, together)
    assert [tokens(steps) for steps in found] == [tokens(steps) for steps in expected]
    assert [steps[-1].settled for steps in found] == [steps[-1].settled for steps in expected]


def test_asking_whether_a_step_is_ready_changes_nothing(recognizer_of):
    engine = recognizer_of("tiny-multi").engine
    state = engine.start(StreamOptions(latency_ms=320))
    needed = engine.samples_needed(state)
    engine.feed(state, np.zeros(needed - 1, np.float32))
    assert engine.ready(state) == 0
    engine.feed(state, np.zeros(1, np.float32))
    assert [engine.ready(state) for _ in range(3)] == [4, 4, 4]
    assert engine.skip_silence(state) == []
    assert state.encoder.frames == 0


def test_silence_is_skipped_in_steps_without_emissions(recognizer_of):
    engine = recognizer_of("tiny-multi").engine
    state = engine.start(StreamOptions(latency_ms=80))
    engine.feed(state, np.zeros(16_000 * 60, np.float32))
    steps = advance(engine, [state])[0]
    assert [step.settled for step in steps] == list(range(1, len(steps) + 1))
    assert state.silence.skipping
    engine.feed(state, np.zeros(1280, np.float32))
    assert engine.skip_silence(state) == [Step((), len(steps) + 1)]


def test_commit_decides_for_the_best_hypothesis_of_a_beam(recognizer_of):
    engine = recognizer_of("tiny-multi").engine
    for beam in (None, BeamRules(4, margin=50)):
        state = engine.start(StreamOptions(latency_ms=80, beam=beam))
        engine.feed(state, speech("tiny-multi")[:20_000])
        advance(engine, [state])
        engine.commit(state)
        assert engine.commit(state) is None
        assert state.search.settled == state.search.frames


def test_streams_with_the_same_phrases_share_their_tree(recognizer_of):
    engine = recognizer_of("tiny-multi").engine
    phrases = (Phrase("oz"), Phrase("re"))
    assert engine.compile_phrases(phrases) is engine.compile_phrases(tuple(phrases))
    assert engine.compile_phrases(()) is None
    with pytest.raises(PhraseError, match="cannot write"):
        engine.compile_phrases((Phrase("今日"),))
    assert engine.can_tokenize("oz")
    assert not engine.can_tokenize("今日")


def test_unknown_language_or_latency_is_rejected(recognizer_of):
    engine = recognizer_of("tiny-multi").engine
    mode, language = engine.resolve("auto", None)
    assert (mode.latency_ms, language) == (320, "auto")
    with pytest.raises(wheatear.LanguageError):
        engine.resolve("tlh", None)
    with pytest.raises(wheatear.LatencyError):
        engine.resolve("auto", 90)


def test_files_are_computed_many_chunks_at_a_time(recognizer_of, monkeypatch, tmp_path):
    recognizer = recognizer_of("tiny-multi")
    path = tmp_path / "a.wav"
    soundfile.write(path, speech("tiny-multi"), 16000)
    steps = []
    step = Encoder.step

    def counted(self, states, frames):
        steps.append(frames)
        return step(self, states, frames)

    monkeypatch.setattr(Encoder, "step", counted)
    recognizer.transcribe(path, latency_ms=560)
    assert steps == [112, 35]  # 147 frames: 16 chunks, then the remaining 5
    steps.clear()
    recognizer.transcribe(path, latency_ms=80)
    assert steps == [112, 35]
