"""Events that clients send to /v1/realtime."""

import base64
import json

import msgspec
from fuzzing import json_values, sessions, words
from hypothesis import given
from hypothesis import strategies as st

from wheatear.server.protocols import openai_events as realtime_events

events = json_values | st.fixed_dictionaries(
    {"type": st.sampled_from(["session.update", "input_audio_buffer.append", "x"])},
    optional={
        "event_id": json_values, "session": json_values | sessions,
        "audio": json_values | st.binary(max_size=20).map(lambda b: base64.b64encode(b).decode()),
    },
)  # fmt: skip


@given(events.map(json.dumps) | words)
def test_any_event_is_decoded_or_rejected(message):
    try:
        event = realtime_events.decode_event(message)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        event_id, refusal = realtime_events.invalid_event(message, error)
        assert refusal.status == 400
        assert event_id is None or len(event_id) <= 512
        json.dumps(refusal.body)
        return
    assert event.event_id is None or len(event.event_id) <= 512
