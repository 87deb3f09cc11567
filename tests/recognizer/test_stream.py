"""One transcription: its samples, its end and its state."""

import numpy as np
import pytest
from checkpoints import speech

import wheatear

pytestmark = pytest.mark.usefixtures("engine")


def test_a_finished_stream_stays_finished(recognizer_of):
    stream = recognizer_of("tiny-multi").stream()
    stream.push(speech("tiny-multi")[:5000])
    transcript = stream.finish()
    assert stream.finish() == transcript == stream.transcript
    with pytest.raises(wheatear.StreamClosedError, match="open a new one"):
        stream.push(np.zeros(10, np.float32))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((5, 2), np.float32), "one-dimensional"),
        (np.zeros(5, np.int32), "float32 or int16, not int32"),
        (np.array([0.0, np.inf], np.float32), "sample 1 is inf"),
        (["a"], "float32 or int16"),
    ],
)
def test_samples_that_are_not_audio(recognizer_of, samples, message):
    with pytest.raises(wheatear.AudioError, match=message):
        recognizer_of("tiny-multi").stream().push(samples)


def test_the_state_of_a_stream_does_not_grow(recognizer_of):
    """State is of constant size, whatever was pushed before."""
    stream = recognizer_of("tiny-multi").stream(latency_ms=1120)
    sizes = []
    for _ in range(30):
        stream.push(np.zeros(16_000, np.float32))
        state = stream.state.encoder
        sizes.append((state.mel.nbytes < 200_000, state.keys_values.nbytes, state.conv.nbytes))
    assert len(set(sizes)) == 1
