"""The text depends only on the samples: not on cuts, other streams or threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from checkpoints import speech
from hypothesis import given, settings
from hypothesis import strategies as st

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
def test_batched_streams_get_the_same_text_as_single_ones(recognizer_of, precision, data):
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
        single = recognizer.stream(language=lang, latency_ms=ms)
        single.push(clip)
        assert ids(stream.finish()) == ids(single.finish())


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


def test_language_changes_the_text_and_is_reported(recognizer_of):
    recognizer = recognizer_of("tiny-multi")
    results = {
        language: recognizer.transcribe(speech("tiny-multi"), language=language)
        for language in ("auto", "en-US", "ja-JP")
    }
    assert len({r.text for r in results.values()}) == 3
    assert results["ja-JP"].language == "ja-JP"
    assert recognizer.transcribe(speech("tiny-multi"), language="JA_jp") == results["ja-JP"]
