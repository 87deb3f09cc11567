"""Time by stage."""

import pytest

import wheatear
from wheatear.audio.mel import MelSpectrogram
from wheatear.audio.reader import sample_speech
from wheatear.bench.measurements import STAGES
from wheatear.bench.stages import timed_stages
from wheatear.bench.token_rate import SPEECH, forced_token_rate
from wheatear.decoder.greedy import GreedySearch
from wheatear.errors import AudioError
from wheatear.model.onnx_session import Session


def test_all_stages_are_timed(tiny):
    recognizer = wheatear.load(tiny, threads=1)
    with forced_token_rate(SPEECH), timed_stages() as seconds:
        recognizer.transcribe(sample_speech())
    assert set(seconds) == set(STAGES) - {"Python"}
    assert all(spent > 0 for spent in seconds.values())


def test_methods_are_restored_after_an_error(tiny):
    methods = [(Session, "run"), (GreedySearch, "best_outputs")]
    methods += [(MelSpectrogram, "push"), (MelSpectrogram, "finish")]
    before = [getattr(owner, name) for owner, name in methods]
    recognizer = wheatear.load(tiny)
    with pytest.raises(AudioError), forced_token_rate(SPEECH), timed_stages():
        recognizer.transcribe("nothing.wav")
    assert before == [getattr(owner, name) for owner, name in methods]
