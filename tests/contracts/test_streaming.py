"""The text depends on the samples alone: not on their cuts, not on neighbours, not on threads."""

import io
import subprocess
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
import soundfile
from checkpoints import speech
from hypothesis import given, settings
from hypothesis import strategies as st

import wheatear
from wheatear.audio.reader import open_audio
from wheatear.encoder.encoder import Encoder

pytestmark = pytest.mark.usefixtures("engine")

PRECISIONS = ("fp32", "int8", "int4")
CLIP = 40_000  # samples: 2.5 s


def ids(transcript):
    return [token.id for token in transcript.tokens]


def cut(samples, sizes):
    """Blocks of these sizes in turn, over and over, until nothing is left."""
    start = 0
    while start < len(samples):
        for size in sizes:
            yield samples[start : start + size]
            start += size


@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 6000), min_size=1, max_size=6).filter(any),
    length=st.integers(0, CLIP),
    latency=st.sampled_from([80, 160, 320, 560, 1120]),
    as_int16=st.booleans(),
)
def test_any_cut_gives_the_tokens_of_the_file(
    recognizer_of, precision, sizes, length, latency, as_int16
):
    recognizer = recognizer_of("tiny-multi", precision)
    samples = speech("tiny-multi")[:length]
    if as_int16:
        samples = (samples * 32768).astype(np.int16)
    stream = recognizer.stream(latency_ms=latency)
    for block in cut(samples, sizes):
        stream.push(block)
    assert stream.finish() == recognizer.transcribe(samples, latency_ms=latency)


@pytest.mark.parametrize("latency", [80, 1120])
def test_sample_by_sample(recognizer_of, latency):
    recognizer = recognizer_of("tiny-multi")
    samples = speech("tiny-multi")[:20_000]
    stream = recognizer.stream(latency_ms=latency)
    for sample in samples:
        stream.push(sample[None])
    assert stream.finish() == recognizer.transcribe(samples, latency_ms=latency)


@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_batched_streams_get_the_text_they_would_have_had_alone(recognizer_of, precision, data):
    """Streams of every language and latency, out of step with each other, joining and leaving."""
    recognizer = recognizer_of("tiny-multi", precision)
    plans = data.draw(
        st.lists(
            st.tuples(
                st.sampled_from([80, 160, 320, 560, 1120]),
                st.sampled_from(["auto", "en-US", "ja-JP"]),
                st.integers(0, 150_000),  # where in the speech it begins
                st.integers(0, CLIP),  # how long it lasts
                st.integers(1, 9000),  # samples a push
            ),
            min_size=2,
            max_size=5,
        )
    )
    clips = [speech("tiny-multi")[start : start + length] for _, _, start, length, _ in plans]
    streams = [recognizer.stream(language=lang, latency_ms=ms) for ms, lang, _, _, _ in plans]
    blocks = [cut(clip, [size]) for clip, (*_, size) in zip(clips, plans, strict=True)]
    live = list(zip(streams, blocks, strict=True))
    while live:
        pairs = [(stream, next(rest, None)) for stream, rest in live]
        recognizer.push_many([(stream, block) for stream, block in pairs if block is not None])
        live = [item for item, (_, block) in zip(live, pairs, strict=True) if block is not None]
    for stream, clip, (ms, lang, *_) in zip(streams, clips, plans, strict=True):
        alone = recognizer.stream(language=lang, latency_ms=ms)
        alone.push(clip)
        assert ids(stream.finish()) == ids(alone.finish())


def test_streams_in_threads_do_not_disturb_each_other(recognizer_of):
    recognizer = recognizer_of("tiny-multi", "int8")
    jobs = [(ms, start) for ms in (80, 320, 1120) for start in range(0, 120_000, 30_000)]

    def live(job):
        ms, start = job
        stream = recognizer.stream(latency_ms=ms)
        for block in cut(speech("tiny-multi")[start : start + CLIP], [1280]):
            stream.push(block)
        return ids(stream.finish())

    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(live, jobs))
    assert together == [live(job) for job in jobs]


def test_token_times_are_ordered_and_inside_the_audio(recognizer_of):
    transcript = recognizer_of("tiny-multi").transcribe(speech("tiny-multi"))
    starts = [token.start for token in transcript.tokens]
    assert starts == sorted(starts)
    assert transcript.duration == len(speech("tiny-multi")) / 16000
    for token in transcript.tokens:
        assert 0 <= token.start <= token.end <= transcript.duration


@pytest.mark.parametrize(
    "samples", [0, 1, 159, 160, 199, 200, 1279, 1280, 1479, 1480, 5000, 17_921]
)
@pytest.mark.parametrize("latency", [80, 320, 1120])
def test_signals_of_awkward_length(recognizer_of, samples, latency):
    recognizer = recognizer_of("tiny-multi")
    clip = speech("tiny-multi")[30_000 : 30_000 + samples]
    stream = recognizer.stream(latency_ms=latency)
    stream.push(clip)
    transcript = stream.finish()
    assert transcript == recognizer.transcribe(clip, latency_ms=latency)
    assert transcript.duration == samples / 16000
    assert samples or not transcript.tokens


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


def test_language_changes_the_text_and_is_reported(recognizer_of):
    recognizer = recognizer_of("tiny-multi")
    results = {
        language: recognizer.transcribe(speech("tiny-multi"), language=language)
        for language in ("auto", "en-US", "ja-JP")
    }
    assert len({r.text for r in results.values()}) == 3
    assert results["ja-JP"].language == "ja-JP"
    assert recognizer.transcribe(speech("tiny-multi"), language="JA_jp") == results["ja-JP"]


def test_a_finished_stream_stays_finished(recognizer_of):
    stream = recognizer_of("tiny-multi").stream()
    stream.push(speech("tiny-multi")[:5000])
    transcript = stream.finish()
    assert stream.finish() == transcript == stream.transcript
    with pytest.raises(wheatear.StreamClosedError, match="open a new one"):
        stream.push(np.zeros(10, np.float32))


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


def test_a_stream_is_pushed_by_its_own_recognizer_alone(recognizer_of):
    ours, theirs = recognizer_of("tiny-multi"), recognizer_of("tiny-multi", "int8")
    with pytest.raises(ValueError, match=r"recognizer that opened it"):
        ours.push_many([(theirs.stream(), np.zeros(2000, np.float32))])


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
    assert steps == [112, 35]  # 147 frames: 16 chunks, then the 5 that are left
    steps.clear()
    recognizer.transcribe(path, latency_ms=80)
    assert steps == [112, 35]


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
