"""Formats of headerless audio, by the names of requests."""

from fuzzing import attempt, words
from hypothesis import given
from hypothesis import strategies as st

from wheatear.server import audio_formats as encodings

media_types = st.builds(
    lambda kind, parameters: ";".join([f"audio/{kind}", *parameters]),
    st.sampled_from(["l16", "x-l16", "pcm", "x-raw-int", "x-raw-float", "basic", "pcma", "x-mulaw"])
    | words,
    st.lists(
        st.builds(
            lambda name, value: f"{name}={value}",
            st.sampled_from(
                ["rate", "sample-rate", "channels", "endianness", "bits", "format", "layout"]
            )
            | words,
            st.sampled_from(["8000", "16000", "1", "big-endian", "s16le", "float"]) | words,
        ),
        max_size=4,
    ),
)


@given(media_types | words)
def test_any_media_type_is_read_or_rejected(text):
    raw, refusal = attempt(lambda: encodings.format_of_media_type(text))
    if refusal is not None:
        assert refusal.status == 400
        assert refusal.param in ("content-type", "sample_rate", "encoding")
    elif raw is not None:
        assert raw.rate > 0
        assert raw.channels > 0
