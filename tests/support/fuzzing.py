"""Values for property tests of parsers: a parser returns a result or rejects its input."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from wheatear.errors import SettingsError
from wheatear.server.api_errors import ApiError

words = st.text(max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=10,
)


def attempt(parse: Callable[[], Any]) -> tuple[Any, Any]:
    """Returns the result of a parser and None, or None and its error."""
    try:
        return parse(), None
    except (ApiError, SettingsError) as error:
        return None, error


sessions = st.builds(
    lambda given, form, turns, words: (
        given
        | {"audio": {"input": {"format": form, "turn_detection": turns, "transcription": words}}}
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "type": json_values,
            "include": json_values,
            "voice": json_values,
            "input_audio_format": json_values
            | st.sampled_from(["pcm16", "g711_ulaw", "g711_alaw"]),
            "input_audio_transcription": json_values | st.fixed_dictionaries({"language": words}),
            "turn_detection": json_values | st.just({"type": "semantic_vad"}),
            "input_audio_noise_reduction": json_values | st.just({"type": "near_field"}),
        },
    ),
    json_values | st.fixed_dictionaries({"type": st.just("audio/pcm"), "rate": json_values}),
    json_values
    | st.fixed_dictionaries(
        {"type": st.just("server_vad")},
        optional={
            name: st.integers() | json_values
            for name in ("silence_duration_ms", "prefix_padding_ms", "idle_timeout_ms", "threshold")
        },
    ),
    json_values
    | st.dictionaries(
        st.sampled_from(["model", "language", "languages", "prompt", "keywords", "delay"]),
        json_values | st.lists(words, max_size=3),
        max_size=3,
    ),
)
