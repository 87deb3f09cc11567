"""OpenAI's answers to files, by its SDK: formats, events, errors."""

import io
import json

import numpy as np
import openai
import pytest
import soundfile
import srt
import webvtt
from openai.types.audio import Transcription, TranscriptionVerbose
from openai.types.audio.transcription_stream_event import TranscriptionStreamEvent
from openai_client import SPOKEN, raw, transcribe
from openai_wire import check
from server_process import SAMPLE

from wheatear.audio.reader import sample_speech

# The SDK opens sockets in a way that is deprecated in the newest websockets.
pytestmark = pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")


def test_json_and_verbose_json_have_the_types_of_the_sdk(openai_client):
    plain = check(raw(openai_client, include=["logprobs"]), Transcription)
    assert SPOKEN in plain.text
    assert plain.usage.seconds == pytest.approx(3.92, abs=0.01)
    assert b"".join(bytes(map(int, p.bytes)) for p in plain.logprobs).decode().strip() == plain.text
    verbose = check(
        raw(
            openai_client, response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
        ),
        TranscriptionVerbose, "verbose",
    )  # fmt: skip
    assert " ".join(w.word for w in verbose.words) == verbose.text == plain.text
    assert " ".join(s.text for s in verbose.segments) == verbose.text
    assert verbose.duration == verbose.usage.seconds
    assert verbose.language == "en-US"


def test_granularities_select_words_and_segments(openai_client):
    words = transcribe(
        openai_client, response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert words.words
    assert words.segments is None
    segments = transcribe(openai_client, response_format="verbose_json")
    assert segments.segments
    assert segments.words is None


def test_text_and_subtitles_have_the_whole_text(openai_client):
    text = transcribe(openai_client, response_format="text")
    assert SPOKEN in text
    cues = list(srt.parse(transcribe(openai_client, response_format="srt")))
    assert " ".join(cue.content.replace("\n", " ") for cue in cues) == text.strip()
    vtt = webvtt.from_string(transcribe(openai_client, response_format="vtt"))
    assert " ".join(cue.text.replace("\n", " ") for cue in vtt) == text.strip()


@pytest.mark.parametrize("logprobs", [False, True])
def test_deltas_joined_are_the_text(openai_client, logprobs):
    more = {"include": ["logprobs"]} if logprobs else {}
    stream = transcribe(openai_client, stream=True, response_format="json", **more)
    *deltas, done = list(stream)
    assert {event.type for event in deltas} == {"transcript.text.delta"}
    assert "".join(event.delta for event in deltas) == done.text
    assert done.text == transcribe(openai_client).text
    if logprobs:
        logged = [p.to_dict() for event in deltas for p in event.logprobs]
        assert logged == [p.to_dict() for p in done.logprobs]
    for event in (*deltas, done):
        check(event.to_dict(), TranscriptionStreamEvent)


def test_verbose_events_have_segments_and_progress(server):
    """Segments and progress come before the last event, which has all of `verbose_json`."""
    sound = io.BytesIO()
    speech = np.tile(np.pad(sample_speech(), (0, 16_000)), 4)
    soundfile.write(sound, speech, 16_000, format="WAV")
    fields = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
    path = "/v1/audio/transcriptions"
    status, text = server.post_form(path, {**fields, "stream": "true"}, sound.getvalue())
    assert status == 200
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    events = [json.loads(line) for line in lines]
    whole = json.loads(server.post_form(path, fields, sound.getvalue())[1])
    done = events[-1]
    assert done["type"] == "transcript.text.done"
    assert (done["text"], done["words"]) == (whole["text"], whole["words"])
    segments = [e for e in events if e["type"] == "transcript.text.segment"]
    assert [w for s in segments for w in s["words"]] == whole["words"]
    assert [s["id"] for s in segments] == list(range(len(segments)))
    progress = [e for e in events if e["type"] == "transcript.progress"]
    seconds = [e["seconds"] for e in progress]
    assert seconds == sorted(seconds)
    assert progress[-1]["duration"] == pytest.approx(len(speech) / 16_000, abs=0.1)
    assert seconds[-1] == pytest.approx(len(speech) / 16_000, abs=1.5)
    deltas = "".join(e["delta"] for e in events if e["type"] == "transcript.text.delta")
    assert deltas == whole["text"]


def test_events_arrive_during_the_computation(openai_client):
    """The first words of a long file arrive before its last samples are computed."""
    long = io.BytesIO()
    samples, rate = soundfile.read(SAMPLE)
    soundfile.write(long, np.tile(samples, 60), rate, format="FLAC")
    with openai_client.audio.transcriptions.create(
        file=("long.flac", long.getvalue()), model="whisper-1", stream=True
    ) as stream:
        assert next(iter(stream)).type == "transcript.text.delta"


def test_an_error_during_the_stream_is_raised_by_the_sdk(openai_client):
    samples, rate = soundfile.read(SAMPLE, dtype="float32")
    samples = np.tile(samples, 30)
    samples[-rate:] = 1e9
    wav = io.BytesIO()
    soundfile.write(wav, samples, rate, format="WAV", subtype="FLOAT")
    got = []
    with pytest.raises(openai.APIError, match="no audio") as failed:  # noqa: PT012
        stream = openai_client.audio.transcriptions.create(
            file=("loud.wav", wav.getvalue()), model="whisper-1", stream=True
        )
        got.extend(event.type for event in stream)
    assert failed.value.code == "invalid_audio"
    assert got
    assert set(got) == {"transcript.text.delta"}
