"""Files, latencies and blocks for many streams."""

import io
import subprocess
import tracemalloc
from contextlib import closing

import numpy as np
import pytest
import soundfile
from checkpoints import speech

import wheatear
from wheatear.audio.reader import open_audio

pytestmark = pytest.mark.usefixtures("engine")


def ids(transcript):
    return [token.id for token in transcript.tokens]


def test_latencies(recognizer_of):
    assert recognizer_of("tiny-multi").latencies_ms == (80, 160, 320, 560, 1120)
    assert recognizer_of("tiny-en").latencies_ms == (80, 160, 560, 1120)
    with pytest.raises(wheatear.LatencyError, match=r"no 320 ms.*80, 160, 560, 1120"):
        recognizer_of("tiny-en").stream(latency_ms=320)


def test_a_file_runs_at_the_longest_latency_and_a_stream_at_the_default(recognizer_of, tmp_path):
    recognizer, samples = recognizer_of("tiny-multi"), speech("tiny-multi")
    path = tmp_path / "speech.wav"
    soundfile.write(path, samples, 16000)
    longest = recognizer.transcribe(samples, latency_ms=1120)
    live = recognizer.transcribe(samples, latency_ms=320)
    assert ids(longest) != ids(live)
    assert recognizer.file_latency_ms == 1120
    assert recognizer.transcribe(samples) == longest
    expected = ids(recognizer.transcribe(path, latency_ms=1120))
    with path.open("rb") as opened:
        for file in (path, opened, io.BytesIO(path.read_bytes())):
            assert ids(recognizer.transcribe(file)) == expected
    stream = recognizer.stream()
    stream.push(samples)
    assert (stream.latency_ms, stream.finish()) == (320, live)


def test_a_pipe_of_pcm_is_live_and_a_file_is_not(recognizer_of, tmp_path):
    """Whatever comes through a pipe may be spoken at this moment."""
    recognizer = recognizer_of("tiny-multi")
    path = tmp_path / "speech.pcm"
    path.write_bytes((speech("tiny-multi") * 32767).astype("<i2").tobytes())
    with path.open("rb") as file, subprocess.Popen(
        ["cat"], stdin=file, stdout=subprocess.PIPE
    ) as cat:  # fmt: skip
        piped = open_audio(cat.stdout)
        assert piped.live
        found = recognizer.transcribe(piped)
    assert ids(found) == ids(recognizer.transcribe(path, latency_ms=320))
    with closing(open_audio(path)) as file:
        assert not file.live


def test_bad_samples_leave_every_stream_as_it_was(recognizer_of):
    recognizer = recognizer_of("tiny-multi")
    good, bad = recognizer.stream(), recognizer.stream()
    half = len(speech("tiny-multi")) // 2
    for stream in (good, bad):
        stream.push(speech("tiny-multi")[:half])
    with pytest.raises(wheatear.AudioError, match="nan"):
        recognizer.push_many([(good, speech("tiny-multi")[half:]), (bad, [0.0, np.nan])])
    for stream in (good, bad):
        stream.push(speech("tiny-multi")[half:])
        assert stream.finish() == recognizer.transcribe(speech("tiny-multi"), latency_ms=320)


def test_stream_of_another_recognizer_is_rejected(recognizer_of):
    ours, theirs = recognizer_of("tiny-multi"), recognizer_of("tiny-multi", "int8")
    with pytest.raises(ValueError, match=r"recognizer that opened it"):
        ours.push_many([(theirs.stream(), np.zeros(2000, np.float32))])


def test_memory_does_not_grow_with_an_array(recognizer_of):
    """Ten minutes in one push cost little more than ten seconds."""
    recognizer = recognizer_of("tiny-multi")
    tracemalloc.start()
    for seconds in (10, 600):
        samples = np.zeros(seconds * 16000, np.int16)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        recognizer.transcribe(samples)
        recognizer.stream().push(samples)
        peak = tracemalloc.get_traced_memory()[1] - before
        assert peak < 40e6 + 4 * len(samples)
    tracemalloc.stop()


def test_a_stream_may_appear_twice_in_one_push(recognizer_of):
    recognizer = recognizer_of("tiny-multi")
    stream = recognizer.stream()
    long = np.tile(speech("tiny-multi"), 3)  # worked off in parts, in the right order
    halves = np.array_split(long, 2)
    first, second = recognizer.push_many([(stream, half) for half in halves])
    assert first
    assert not second
    assert stream.finish() == recognizer.transcribe(long, latency_ms=320)
