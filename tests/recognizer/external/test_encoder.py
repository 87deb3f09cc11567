"""External encoders: tokens of our own graphs on the same grid, for any cut and any batch.

Zeros before the signal pass through the convolutions of a package where NeMo pads their outputs
(`wheatear.recognizer.external.encoder`); `same_start` makes our own graphs do the same, so that
all tokens can be compared.
"""

import numpy as np
import pytest
from checkpoints import answers, language_of, speech
from hypothesis import given, settings
from hypothesis import strategies as st
from package_kinds import EXACT, ONE_EACH, encoded, ids, model_of

from wheatear.encoder.silence import SilenceSkipper
from wheatear.model.latency import LatencyMode


@pytest.mark.parametrize("kind", EXACT)
def test_tokens_are_those_of_our_own_graphs(foreign, recognizer_of, same_start, kind):
    theirs, model = foreign(kind), model_of(kind)
    ours, samples = recognizer_of(model), speech(model)
    (latency,) = theirs.latencies_ms
    language = language_of(ours, int(answers(model)["prompt_index"]))
    languages = {"auto", language, "en-US"} & {"auto", *ours.languages, *theirs.languages}
    for locale in sorted(languages if ours.languages else {"auto"}):
        expected = ours.transcribe(samples, language=locale, latency_ms=latency)
        found = theirs.transcribe(samples, language=locale)
        assert ids(found) == ids(expected)
        assert found.text == expected.text
        assert [t.start for t in found.tokens] == [t.start for t in expected.tokens]
        np.testing.assert_allclose(
            [t.confidence for t in found.tokens],
            [t.confidence for t in expected.tokens],
            atol=1e-4,
        )


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("samples", [0, 1, 159, 160, 199, 1279, 1440, 1480, 2880, 8960, 17_921])
def test_short_signals_and_short_last_chunks(foreign, recognizer_of, same_start, kind, samples):
    theirs, model = foreign(kind), model_of(kind)
    clip = speech(model)[20_000 : 20_000 + samples]
    (latency,) = theirs.latencies_ms
    expected = recognizer_of(model).transcribe(clip, latency_ms=latency)
    assert ids(theirs.transcribe(clip)) == ids(expected)


@pytest.mark.parametrize("kind", [kind for kind in EXACT if "tiny" in model_of(kind)])
def test_frames_are_nemos_once_the_start_is_out_of_sight(foreign, kind):
    """The start differs only by the padding of its first two frames: frames that do not depend on
    them, layer by layer, are those that NeMo computes offline."""
    recognizer, model = foreign(kind), model_of(kind)
    expected, manifest = answers(model), recognizer.model.manifest
    prompt = max(0, int(expected["prompt_index"])) if manifest.prompts else None
    found = encoded(recognizer, speech(model), prompt)
    mode = manifest.default_mode
    theirs = expected.get(f"encp_R{mode.lookahead}", expected.get(f"enc_R{mode.lookahead}")).T
    assert found.shape == theirs.shape
    # A chunk of frames sees the chunks of `left` frames before it; convolutions are shorter.
    sight = manifest.encoder.layers * (mode.left + mode.chunk) + 2
    if sight < len(found):
        assert np.abs(found[sight:] - theirs[sight:]).max() < 1e-4
    assert np.abs(found - theirs).max() > 1e-3  # and it does differ


@pytest.mark.parametrize(
    ("half", "full"), [("genai-fp16", "genai-560"), ("soniqo-fp16", "soniqo-320")]
)
def test_graphs_in_half_precision(foreign, half, full):
    samples = speech("tiny-multi")
    found, expected = (encoded(foreign(kind), samples, 0) for kind in (half, full))
    assert foreign(half).model.encoder.start(LatencyMode(56, 3)).conv.dtype == np.float16
    assert foreign(half).model.manifest.precision == "fp16"
    assert 0 < np.abs(found - expected).max() < 0.02
    assert len(ids(foreign(half).transcribe(samples))) > 20


def test_first_frames_of_packages_differ_from_nemos(foreign, recognizer_of):
    """Reason for `same_start`."""
    speech_of, ours = speech("tiny-multi"), recognizer_of("tiny-multi")
    expected = answers("tiny-multi")["tokens_R3"].tolist()
    assert ids(ours.transcribe(speech_of, latency_ms=320)) == expected
    assert ids(foreign("sherpa-320").transcribe(speech_of)) != expected


@pytest.mark.parametrize("kind", ONE_EACH)
@settings(max_examples=10, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 9000), min_size=1, max_size=5).filter(any),
    length=st.integers(0, 40_000),
)
def test_any_cut_gives_the_tokens_of_the_file(foreign, kind, sizes, length):
    recognizer, samples = foreign(kind), speech("tiny-multi")[:length]
    stream, start = recognizer.stream(), 0
    while start < length:
        for size in sizes:
            stream.push(samples[start : start + size])
            start += size
    assert stream.finish() == recognizer.transcribe(samples)


@pytest.mark.parametrize("kind", ONE_EACH)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_batched_streams_get_the_same_tokens_as_single_ones(foreign, kind, data):
    recognizer = foreign(kind)
    plans = data.draw(
        st.lists(
            st.tuples(
                st.sampled_from(["auto", "en-US", "ja-JP"]),
                st.integers(0, 150_000),
                st.integers(0, 30_000),
                st.integers(500, 9000),
            ),
            min_size=2,
            max_size=5,
        )
    )
    clips = [speech("tiny-multi")[start : start + length] for _, start, length, _ in plans]
    streams = [recognizer.stream(language=language) for language, *_ in plans]
    offsets = [0] * len(plans)
    while any(at < len(clip) for at, clip in zip(offsets, clips, strict=True)):
        pairs = []
        for n, (stream, clip, (*_, size)) in enumerate(zip(streams, clips, plans, strict=True)):
            pairs.append((stream, clip[offsets[n] : offsets[n] + size]))
            offsets[n] += size
        recognizer.push_many(pairs)
    for stream, clip, (language, *_) in zip(streams, clips, plans, strict=True):
        single = recognizer.stream(language=language)
        single.push(clip)
        assert ids(stream.finish()) == ids(single.finish())


def test_batches_are_used_where_they_change_nothing(foreign):
    assert foreign("sherpa-320").model.encoder.batched
    assert not foreign("sherpa-int8").model.encoder.batched  # scales over the whole batch
    assert not foreign("genai-560").model.encoder.batched  # takes one
    assert foreign("genai-560").model.networks.joint.batched
    assert not foreign("soniqo-320").model.networks.joint.batched


@pytest.mark.parametrize("kind", ["sherpa-320", "sherpa-int8", "genai-560"])
def test_silence_is_skipped_without_a_difference(foreign, monkeypatch, kind):
    recognizer = foreign(kind)
    samples = np.concatenate(
        [speech("tiny-multi")[:20_000], np.zeros(60 * 16_000, np.float32), speech("tiny-multi")]
    )
    skipped = recognizer.transcribe(samples)
    monkeypatch.setattr(SilenceSkipper, "skip", lambda *_arguments: False)
    assert ids(recognizer.transcribe(samples)) == ids(skipped)


@pytest.mark.parametrize("kind", ["sherpa-320", "parakeet-560", "genai-560", "soniqo-320"])
def test_the_language_may_change_at_any_chunk(foreign, recognizer_of, same_start, kind):
    def transcribed(recognizer, latency):
        stream = recognizer.stream(language="en-US", latency_ms=latency)
        stream.push(speech("tiny-multi")[:50_000])
        stream.switch(language="ja-JP")
        stream.push(speech("tiny-multi")[50_000:90_000])
        return ids(stream.finish())

    (latency,) = foreign(kind).latencies_ms
    theirs = transcribed(foreign(kind), latency)
    assert theirs == transcribed(recognizer_of("tiny-multi"), latency)
