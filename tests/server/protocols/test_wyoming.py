"""Wyoming: its own client library against a running server, and clients that mean no good."""

import asyncio
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_process import running
from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming_client import check, command, connect, port_of, raw, receive_events, run, speak

import wheatear


@pytest.fixture(scope="module")
def recognizer():
    return wheatear.load(threads=1)


# -- what it is for


def test_describe_names_the_models(quiet_home):
    async def work(client):
        await client.write_event(Describe().event())
        return await receive_events(client, Info)

    ((info,),) = [run(quiet_home, work)]
    (program,) = info.asr
    assert program.installed
    assert program.supports_transcript_streaming
    assert program.requires_external_vad
    assert program.version == wheatear.__version__
    (model,) = program.models
    assert (model.name, model.installed) == ("wheatear-small", True)
    assert {"en", "en-US", "it-IT"} <= set(model.languages)
    assert "auto" not in model.languages


@pytest.mark.parametrize("language", ["en-US", "en", None])
def test_a_command_has_the_text_of_the_engine(quiet_home, recognizer, spoken, language):
    got = run(quiet_home, lambda client: command(client, spoken, language=language))
    latency = recognizer.model.manifest.default_mode.latency_ms
    expected = recognizer.transcribe(spoken, language=language or "auto", latency_ms=latency)
    assert check(got) == expected.text
    assert got[-2].language == (language or "en-US")


def test_text_is_sent_during_speech(quiet_home, spoken):
    async def work(client):
        await speak(client, spoken[:50_000])
        first = await receive_events(client, TranscriptChunk)
        await client.write_event(AudioStop().event())
        return [*first, *await receive_events(client)]

    assert check(run(quiet_home, work)).lower().startswith("i'm sorry")


@pytest.mark.parametrize(
    ("rate", "width", "channels"),
    [(8000, 2, 1), (48_000, 2, 2), (22_050, 4, 1), (44_100, 3, 2), (16_000, 4, 8), (16_000, 1, 1)],
)
def test_audio_of_any_format_is_transcribed(quiet_home, spoken, rate, width, channels):
    soxr = pytest.importorskip("soxr")
    samples = soxr.resample(spoken.astype(np.float64) / 32768, 16_000, rate)
    whole = np.round(np.clip(samples, -1, 0.999) * (1 << 31)).astype("<i4")
    data = np.repeat(whole, channels).view(np.uint8).reshape(-1, 4)[:, 4 - width :].tobytes()
    form = {"rate": rate, "width": width, "channels": channels}
    block = 999 if width != 2 else 1024  # samples that are cut in two
    text = check(run(quiet_home, lambda c: command(c, data, block=block, **form)))
    # Of eight bits the noise is loud.
    assert "sorry" in text.lower() or (width == 1 and text)


def test_commands_on_one_connection_are_independent(quiet_home, spoken):
    async def work(client):
        texts = []
        for samples, language in ((spoken, "en"), (spoken[:16_000], "en"), (spoken, "it")):
            got = await command(client, samples, language=language)
            texts.append((check(got), got[-2].language))
        await client.write_event(Ping("still").event())
        (pong,) = await receive_events(client, Pong)
        assert pong.text == "still"
        return texts

    (whole, _), (part, _), (italian, language) = run(quiet_home, work)
    assert "calling" in whole
    assert part.lower().startswith("i'm sorry")
    assert "calling" not in part
    assert italian
    assert language == "it"


def test_a_command_that_starts_again_is_discarded(quiet_home, spoken):
    async def work(client):
        await speak(client, spoken[:40_000])
        return await command(client, np.zeros(16_000, np.int16))

    assert next(e for e in run(quiet_home, work) if isinstance(e, Transcript)).text == ""


START = AudioStart(rate=16_000, width=2, channels=1).event()


@pytest.mark.parametrize("before", [0, 8000])
def test_a_transcribe_after_the_start_counts(quiet_home, recognizer, spoken, before):
    """For the command that has begun, from then on, and for those that follow."""

    async def work(client):
        await client.write_event(START)
        form = {"rate": 16_000, "width": 2, "channels": 1}
        if before:
            audio = spoken[:before].tobytes()
            await client.write_event(AudioChunk(audio=audio, **form).event())
        await client.write_event(Transcribe(language="it").event())
        await client.write_event(AudioChunk(audio=spoken[before:].tobytes(), **form).event())
        await client.write_event(AudioStop().event())
        first = await receive_events(client)
        await client.write_event(START)
        await client.write_event(AudioChunk(audio=spoken.tobytes(), **form).event())
        await client.write_event(AudioStop().event())
        return first, await receive_events(client)

    first, second = run(quiet_home, work)
    latency = recognizer.model.manifest.default_mode.latency_ms
    expected = recognizer.transcribe(spoken, language="it", latency_ms=latency).text
    assert check(second) == expected
    assert (first[-2].language, second[-2].language) == ("it", "it")
    if not before:
        assert check(first) == expected


def test_a_transcribe_after_the_start_may_end_it_with_its_turn(quiet_home, spoken):
    async def work(client):
        await client.write_event(START)
        await client.write_event(Transcribe(vad_sensitivity="aggressive").event())
        form = {"rate": 16_000, "width": 2, "channels": 1}
        await client.write_event(AudioChunk(audio=spoken.tobytes(), **form).event())
        return await receive_events(client)  # without audio-stop

    assert "calling" in check(run(quiet_home, work))


def test_a_transcribe_after_the_start_may_be_rejected(quiet_home):
    async def work(client):
        await client.write_event(START)
        await client.write_event(Transcribe(language="tlh").event())
        return await receive_events(client)

    (error,) = run(quiet_home, work)
    assert error.code == "invalid_value"
    assert "tlh" in error.text


def test_the_nearest_locale_is_named(quiet_home, spoken):
    (*_, transcript, _) = run(quiet_home, lambda c: command(c, spoken, language="en-AU"))
    assert "calling" in transcript.text
    assert transcript.language in ("en-GB", "en-US")


@pytest.mark.parametrize(
    ("event", "meant"),
    [
        (Event("transcribe", {"langauge": "en"}), "language"),
        (Event("transcribe", {"transcriptNames": ["Elba"]}), "transcript_names"),
        (Event("audio-start", {"rate": 1, "width": 2, "channels": 1, "Rate": 1}), "rate"),
    ],
)
def test_a_misspelled_field_is_rejected_with_the_known_name(quiet_home, event, meant):
    async def work(client):
        await client.write_event(event)
        return await receive_events(client)

    (error,) = run(quiet_home, work)
    assert repr(meant) in error.text


def test_fields_of_a_newer_protocol_are_ignored(quiet_home, spoken):
    async def work(client):
        fields = {"language": "en", "context": {"a": 1}, "some_new_thing": 7}
        await client.write_event(Event("transcribe", fields))
        await client.write_event(START)
        form = {"rate": 16_000, "width": 2, "channels": 1}
        await client.write_event(AudioChunk(audio=spoken.tobytes(), **form).event())
        await client.write_event(AudioStop().event())
        return await receive_events(client)

    assert "calling" in check(run(quiet_home, work))
    assert "some_new_thing" in quiet_home.log


@pytest.mark.parametrize("audio", [False, True])
def test_a_command_without_speech_is_answered(quiet_home, audio):
    async def work(client):
        await client.write_event(Transcribe(language="en").event())
        if audio:
            await client.write_event(AudioStart(rate=16_000, width=2, channels=1).event())
        await client.write_event(AudioStop().event())
        return await receive_events(client)

    assert check(run(quiet_home, work)) == ""


@pytest.mark.parametrize("sensitivity", ["relaxed", "default", "aggressive", "other"])
def test_with_a_sensitivity_the_turn_ends_the_command(quiet_home, spoken, sensitivity):
    """The answer comes before audio-stop, and later audio is ignored."""

    async def work(client):
        patient = np.concatenate([spoken, np.zeros(24_000, np.int16)])
        await speak(client, patient, vad_sensitivity=sensitivity)
        first = await receive_events(client)
        await client.write_event(
            AudioChunk(rate=16_000, width=2, channels=1, audio=spoken.tobytes()).event()
        )
        await client.write_event(AudioStop().event())
        return first, await command(client, spoken)

    first, second = run(quiet_home, work)
    assert "calling" in check(first)
    assert "calling" in check(second)


def test_names_are_boosted(recognizer, spoken):
    """Those that the model cannot write are passed over."""
    plain, before = (
        recognizer.transcribe(spoken, latency_ms=1120, phrases=names).text
        for names in ([], ["I'm sorry unable"])
    )
    assert plain != before
    with running("--wyoming-port", "0", "--latency", "1120") as server:
        server.wyoming = port_of(server)

        async def work(client):
            names = ["\u0bb5\u0ba3", "I'm sorry unable"]
            return [
                check(await command(client, spoken, **hints))
                for hints in ({"transcript_names": names}, {}, {"transcript_terms": names})
            ]

        assert run(server, work) == [before, plain, before]


def test_concurrent_commands_have_the_same_text(quiet_home, spoken):
    async def one(n):
        async with connect(quiet_home) as client:
            return check(await command(client, spoken, language="en", block=256 + 100 * n))

    async def all_of_them():
        return await asyncio.gather(*map(one, range(8)))

    texts = asyncio.run(all_of_them())
    assert len(set(texts)) == 1
    assert "calling" in texts[0]


def test_metrics_count_sockets_and_audio(home, spoken):
    before = home.metric("wheatear_audio_seconds", wire="wyoming")
    run(home, lambda client: command(client, spoken))
    home.wait_for_rest()
    seconds = home.metric("wheatear_audio_seconds", wire="wyoming") - before
    assert seconds == pytest.approx(len(spoken) / 16_000, abs=0.01)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("chunk"), st.sampled_from([0, 1, 777, 16_000, 40_000])),
        st.tuples(st.sampled_from(["transcribe", "start", "stop", "describe", "rest"])),
    ),
    max_size=14,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps, st.booleans())
def test_each_stop_is_answered_once_in_order(quiet_home, spoken, steps, one_turn):
    samples = np.tile(spoken, 8).tobytes()
    form = {"rate": 16_000, "width": 2, "channels": 1}
    more = {"vad_sensitivity": "aggressive"} if one_turn else {}

    async def work(client):
        at = 0
        for what, *size in [*steps, ("start",), ("stop",)]:
            match what:
                case "chunk":
                    audio = samples[at : at + size[0]]
                    at += size[0]
                    await client.write_event(AudioChunk(audio=audio, **form).event())
                case "transcribe":
                    await client.write_event(Transcribe(language="en", **more).event())
                case "start":
                    await client.write_event(AudioStart(**form).event())
                case "stop":
                    await client.write_event(AudioStop().event())
                case "describe":
                    await client.write_event(Describe().event())
                case "rest":
                    await asyncio.sleep(0.05)
        await client.write_event(Ping().event())
        got = await receive_events(client, Pong)
        stops = sum(what == "stop" for what, *_ in steps) + 1
        while sum(isinstance(e, TranscriptStop) for e in got) < stops:
            got += await receive_events(client)
        return got, stops

    got, stops = run(quiet_home, work)
    assert not [e for e in got if isinstance(e, Error)]
    sent = [e for e in got if not isinstance(e, Info | Pong)]
    answers = 0
    text = ""
    for event in sent:
        match event:
            case TranscriptStart():
                text = ""  # a command that started again is discarded
            case TranscriptChunk():
                text += event.text
            case Transcript():
                assert event.text == text
                answers += 1
    # A turn may end a command that then starts again, without a stop.
    assert answers >= stops if one_turn else answers == stops


# -- what goes wrong


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"language": "tlh"}, "invalid_value"),
        ({"name": "nobody"}, "model_not_found"),
        ({"rate": 4000}, "invalid_audio"),
        ({"channels": 9}, "invalid_audio"),
        ({"channels": 0}, "invalid_audio"),
        ({"width": 5}, "invalid_value"),
    ],
)
def test_unsupported_options_are_errors(quiet_home, spoken, options, code):
    (error,) = run(quiet_home, lambda client: command(client, spoken[:2000], **options))
    assert error.code == code


def test_unknown_events_are_ignored(quiet_home):
    async def work(client):
        await client.write_event(Event("select-program", {"name": "wheatear"}))
        await client.write_event(Event("no-such-thing", {"a": 1}, b"payload"))
        await client.write_event(Describe().event())
        return await receive_events(client, Info)

    assert isinstance(run(quiet_home, work)[0], Info)


def test_a_session_at_its_time_limit_is_answered(spoken):
    with running("--wyoming-port", "0", WHEATEAR_SERVE_LIMITS_SESSION_SECONDS="3") as server:
        server.wyoming = port_of(server)

        async def work(client):
            await speak(client, spoken)
            return await receive_events(client)

        assert "calling" in check(run(server, work))


def test_shutdown_answers_commands(spoken):
    with running("--wyoming-port", "0", WHEATEAR_SERVE_DRAIN_SECONDS="1") as server:
        server.wyoming = port_of(server)

        async def work(client):
            await speak(client, spoken[:50_000])
            first = await receive_events(client, TranscriptChunk)
            server.process.terminate()
            time.sleep(0.2)
            assert '"shutting_down"' in raw(server, b'{"type": "describe"}\n')
            return [*first, *await receive_events(client)]

        assert check(run(server, work)).lower().startswith("i'm sorry")
        assert server.process.wait(30) == 0
        assert "Traceback" not in server.log
