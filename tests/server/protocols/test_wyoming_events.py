"""Events of Wyoming: their options, their PCM, and what is rejected."""

import numpy as np
import pytest

from wheatear.server.api_errors import ApiError
from wheatear.server.protocols.wyoming_events import (
    AudioFormat,
    Head,
    Transcribe,
    convert,
    decode,
    to_s16,
)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_samples_of_any_width_keep_their_upper_two_bytes(width):
    samples = np.array([0, 1 << 14, -(1 << 14), 32_512, -32_768], np.int64)
    wide = samples >> 8 if width == 1 else samples << (8 * (width - 2))
    data = b"".join(int(value).to_bytes(width, "little", signed=True) for value in wide)
    assert np.frombuffer(to_s16(memoryview(data), width), "<i2").tolist() == samples.tolist()


def test_a_prompt_has_names_before_terms_and_ends_at_the_limit():
    request = Transcribe(transcript_names=["Elba", "Capri"], transcript_terms=["ferry"])
    assert request.prompt(100) == "Elba\nCapri\nferry\n"
    assert request.prompt(12) == "Elba\nCapri\n"
    assert request.prompt(4) == ""


def test_a_higher_sensitivity_ends_turns_sooner():
    values = ("relaxed", "default", "aggressive")
    ends = [Transcribe(vad_sensitivity=value).turn_rules.end_ms for value in values]
    assert ends == sorted(ends, reverse=True)
    assert len(set(ends)) == 3
    assert Transcribe(vad_sensitivity="unknown").turn_rules == Transcribe().turn_rules


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"type": 7}', b"\xff"])
def test_a_line_that_is_no_event_is_rejected(data):
    with pytest.raises(ApiError, match="no Wyoming event"):
        decode(data, Head, "event")


def test_a_field_of_another_type_is_rejected_with_its_event():
    with pytest.raises(ApiError, match=r"audio-start: .*width"):
        convert({"rate": 8000, "width": 8, "channels": 1}, AudioFormat, "audio-start")
