"""Wyoming: its own client library against a running server, and clients that mean no good."""

import asyncio
import json
import re
import socket
import time
from contextlib import ExitStack

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_process import running
from websockets.sync.client import connect as websocket
from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong

import wheatear
from wheatear.cli import main
from wheatear.server.access.keys import make_key

TYPES = (Error, Info, Pong, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop)


def port_of(server):
    return int(re.search(r":(\d+) \(Wyoming\)", server.process.stdout.readline())[1])


@pytest.fixture(scope="module")
def home():
    """A server with the protocol."""
    with running("--wyoming-port", "0") as server:
        server.wyoming = port_of(server)
        yield server
        assert "Traceback" not in server.log, server.log


@pytest.fixture
def quiet_home(home):
    yield home
    home.wait_for_rest()


@pytest.fixture(scope="module")
def recognizer():
    return wheatear.load(threads=1)


def connect(server):
    return AsyncTcpClient("127.0.0.1", server.wyoming, connect_timeout=5, read_timeout=30)


async def said(client, until=TranscriptStop):
    """Typed events up to the first of a type, or the end of the connection."""
    got = []
    while (event := await client.read_event()) is not None:
        kind = next(kind for kind in TYPES if kind.is_type(event.type))
        got.append(kind.from_event(event))
        if kind in (until, Error):
            break
    return got


async def speak(client, samples, rate=16_000, width=2, channels=1, block=1024, **transcribe):
    """A command, as Home Assistant sends one."""
    await client.write_event(Transcribe(**transcribe).event())
    form = {"rate": rate, "width": width, "channels": channels}
    await client.write_event(AudioStart(**form).event())
    data = samples if isinstance(samples, bytes) else samples.tobytes()
    for at in range(0, len(data), block):
        await client.write_event(AudioChunk(audio=data[at : at + block], **form).event())


async def command(client, samples, **options):
    await speak(client, samples, **options)
    await client.write_event(AudioStop().event())
    return await said(client)


def check(got):
    """What has to be true of every answer; its text."""
    start, *chunks, transcript, stop = got
    assert isinstance(start, TranscriptStart)
    assert isinstance(stop, TranscriptStop)
    assert "".join(chunk.text for chunk in chunks) == transcript.text
    return transcript.text


def run(server, work):
    async def connected():
        async with connect(server) as client:
            return await work(client)

    return asyncio.run(connected())


# -- what it is for


def test_it_says_what_it_can(quiet_home):
    async def work(client):
        await client.write_event(Describe().event())
        return await said(client, Info)

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
def test_a_command_says_what_the_engine_says(quiet_home, recognizer, spoken, language):
    got = run(quiet_home, lambda client: command(client, spoken, language=language))
    latency = recognizer.model.manifest.default_mode.latency_ms
    expected = recognizer.transcribe(spoken, language=language or "auto", latency_ms=latency)
    assert check(got) == expected.text
    assert got[-2].language == (language or "en-US")


def test_text_comes_while_it_is_said(quiet_home, spoken):
    async def work(client):
        await speak(client, spoken[:50_000])
        first = await said(client, TranscriptChunk)
        await client.write_event(AudioStop().event())
        return [*first, *await said(client)]

    assert check(run(quiet_home, work)).lower().startswith("i'm sorry")


@pytest.mark.parametrize(
    ("rate", "width", "channels"),
    [(8000, 2, 1), (48_000, 2, 2), (22_050, 4, 1), (44_100, 3, 2), (16_000, 4, 8), (16_000, 1, 1)],
)
def test_any_form_of_audio(quiet_home, spoken, rate, width, channels):
    soxr = pytest.importorskip("soxr")
    samples = soxr.resample(spoken.astype(np.float64) / 32768, 16_000, rate)
    whole = np.round(np.clip(samples, -1, 0.999) * (1 << 31)).astype("<i4")
    data = np.repeat(whole, channels).view(np.uint8).reshape(-1, 4)[:, 4 - width :].tobytes()
    form = {"rate": rate, "width": width, "channels": channels}
    block = 999 if width != 2 else 1024  # samples that are cut in two
    text = check(run(quiet_home, lambda c: command(c, data, block=block, **form)))
    # Of eight bits the noise is loud.
    assert "sorry" in text.lower() or (width == 1 and text)


def test_commands_follow_one_another(quiet_home, spoken):
    async def work(client):
        texts = []
        for samples, language in ((spoken, "en"), (spoken[:16_000], "en"), (spoken, "it")):
            got = await command(client, samples, language=language)
            texts.append((check(got), got[-2].language))
        await client.write_event(Ping("still").event())
        (pong,) = await said(client, Pong)
        assert pong.text == "still"
        return texts

    (whole, _), (part, _), (italian, language) = run(quiet_home, work)
    assert "calling" in whole
    assert part.lower().startswith("i'm sorry")
    assert "calling" not in part
    assert italian
    assert language == "it"


def test_a_command_that_begins_again_is_forgotten(quiet_home, spoken):
    async def work(client):
        await speak(client, spoken[:40_000])
        return await command(client, np.zeros(16_000, np.int16))

    assert next(e for e in run(quiet_home, work) if isinstance(e, Transcript)).text == ""


START = AudioStart(rate=16_000, width=2, channels=1).event()


@pytest.mark.parametrize("heard", [0, 8000])
def test_a_transcribe_after_the_start_counts(quiet_home, recognizer, spoken, heard):
    """For the command that has begun, from then on, and for those that follow."""

    async def work(client):
        await client.write_event(START)
        form = {"rate": 16_000, "width": 2, "channels": 1}
        if heard:
            audio = spoken[:heard].tobytes()
            await client.write_event(AudioChunk(audio=audio, **form).event())
        await client.write_event(Transcribe(language="it").event())
        await client.write_event(AudioChunk(audio=spoken[heard:].tobytes(), **form).event())
        await client.write_event(AudioStop().event())
        first = await said(client)
        await client.write_event(START)
        await client.write_event(AudioChunk(audio=spoken.tobytes(), **form).event())
        await client.write_event(AudioStop().event())
        return first, await said(client)

    first, second = run(quiet_home, work)
    latency = recognizer.model.manifest.default_mode.latency_ms
    expected = recognizer.transcribe(spoken, language="it", latency_ms=latency).text
    assert check(second) == expected
    assert (first[-2].language, second[-2].language) == ("it", "it")
    if not heard:
        assert check(first) == expected


def test_a_transcribe_after_the_start_may_end_it_with_its_turn(quiet_home, spoken):
    async def work(client):
        await client.write_event(START)
        await client.write_event(Transcribe(vad_sensitivity="aggressive").event())
        form = {"rate": 16_000, "width": 2, "channels": 1}
        await client.write_event(AudioChunk(audio=spoken.tobytes(), **form).event())
        return await said(client)  # without audio-stop

    assert "calling" in check(run(quiet_home, work))


def test_a_transcribe_after_the_start_may_be_refused(quiet_home):
    async def work(client):
        await client.write_event(START)
        await client.write_event(Transcribe(language="tlh").event())
        return await said(client)

    (error,) = run(quiet_home, work)
    assert error.code == "invalid_value"
    assert "tlh" in error.text


def test_the_nearest_locale_is_told(quiet_home, spoken):
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
def test_a_misspelled_field_is_named(quiet_home, event, meant):
    async def work(client):
        await client.write_event(event)
        return await said(client)

    (error,) = run(quiet_home, work)
    assert repr(meant) in error.text


def test_fields_of_a_newer_protocol_are_passed_over(quiet_home, spoken):
    async def work(client):
        fields = {"language": "en", "context": {"a": 1}, "some_new_thing": 7}
        await client.write_event(Event("transcribe", fields))
        await client.write_event(START)
        form = {"rate": 16_000, "width": 2, "channels": 1}
        await client.write_event(AudioChunk(audio=spoken.tobytes(), **form).event())
        await client.write_event(AudioStop().event())
        return await said(client)

    assert "calling" in check(run(quiet_home, work))
    assert "some_new_thing" in quiet_home.log


@pytest.mark.parametrize("audio", [False, True])
def test_who_says_nothing_gets_an_answer(quiet_home, audio):
    async def work(client):
        await client.write_event(Transcribe(language="en").event())
        if audio:
            await client.write_event(AudioStart(rate=16_000, width=2, channels=1).event())
        await client.write_event(AudioStop().event())
        return await said(client)

    assert check(run(quiet_home, work)) == ""


@pytest.mark.parametrize("sensitivity", ["relaxed", "default", "aggressive", "other"])
def test_with_a_sensitivity_the_turn_ends_the_command(quiet_home, spoken, sensitivity):
    """The answer comes before audio-stop, and what is said after it is not listened to."""

    async def work(client):
        patient = np.concatenate([spoken, np.zeros(24_000, np.int16)])
        await speak(client, patient, vad_sensitivity=sensitivity)
        first = await said(client)
        await client.write_event(
            AudioChunk(rate=16_000, width=2, channels=1, audio=spoken.tobytes()).event()
        )
        await client.write_event(AudioStop().event())
        return first, await command(client, spoken)

    first, second = run(quiet_home, work)
    assert "calling" in check(first)
    assert "calling" in check(second)


def test_names_are_listened_for(recognizer, spoken):
    """Those that the model cannot write are passed over."""
    plain, heard = (
        recognizer.transcribe(spoken, latency_ms=1120, phrases=names).text
        for names in ([], ["I'm sorry unable"])
    )
    assert plain != heard
    with running("--wyoming-port", "0", "--latency", "1120") as server:
        server.wyoming = port_of(server)

        async def work(client):
            names = ["\u0bb5\u0ba3", "I'm sorry unable"]
            return [
                check(await command(client, spoken, **hints))
                for hints in ({"transcript_names": names}, {}, {"transcript_terms": names})
            ]

        assert run(server, work) == [heard, plain, heard]


def test_several_at_once(quiet_home, spoken):
    async def one(n):
        async with connect(quiet_home) as client:
            return check(await command(client, spoken, language="en", block=256 + 100 * n))

    async def all_of_them():
        return await asyncio.gather(*map(one, range(8)))

    texts = asyncio.run(all_of_them())
    assert len(set(texts)) == 1
    assert "calling" in texts[0]


def test_figures(home, spoken):
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
def test_every_stop_gets_one_answer_in_order(quiet_home, spoken, steps, one_turn):
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
        got = await said(client, Pong)
        stops = sum(what == "stop" for what, *_ in steps) + 1
        while sum(isinstance(e, TranscriptStop) for e in got) < stops:
            got += await said(client)
        return got, stops

    got, stops = run(quiet_home, work)
    assert not [e for e in got if isinstance(e, Error)]
    told = [e for e in got if not isinstance(e, Info | Pong)]
    answers = 0
    text = ""
    for event in told:
        match event:
            case TranscriptStart():
                text = ""  # of one that was begun anew nothing more is heard
            case TranscriptChunk():
                text += event.text
            case Transcript():
                assert event.text == text
                answers += 1
    # A turn may end a command that is then begun anew, without a stop.
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
def test_what_cannot_be_done_is_said(quiet_home, spoken, options, code):
    (error,) = run(quiet_home, lambda client: command(client, spoken[:2000], **options))
    assert error.code == code


def raw(server, data, timeout=10):
    """What the server answers to bytes, up to its end of the connection."""
    with socket.create_connection(("127.0.0.1", server.wyoming), timeout=timeout) as line:
        line.sendall(data)
        answer = b""
        while piece := line.recv(65_536):
            answer += piece
        return answer.decode()


CHUNK = '{"type": "audio-chunk", "data": {"rate": 16000, "width": 2, "channels": 1}'


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\n",
        b"\xff\xfe\x00\n",
        b"[]\n",
        b"null\n",
        b'{"type": 7}\n',
        b'{"data": {}}\n',
        b'{"type": "describe", "data": []}\n',
        b'{"type": "describe", "data_length": -1}\n',
        b'{"type": "describe", "data_length": 99999999999999}\n',
        b'{"type": "describe", "data_length": 1e300}\n',
        b'{"type": "describe", "payload_length": 9999999999}\n',
        b'{"type": "describe", "data_length": 4}\n[1]\n',
        b'{"type": "describe", "data_length": 4}\n\xff\xff\xff\xff',
        b'{"type": "audio-start"}\n',
        b'{"type": "audio-start", "data": {"rate": "x", "width": 2, "channels": 1}}\n',
        b'{"type": "audio-start", "data": {"rate": 1e99, "width": 2, "channels": 1}}\n',
        b'{"type": "transcribe", "data": {"language": 7}}\n',
        b'{"type": "transcribe", "data": {"transcript_names": [{}]}}\n',
        b"[" * 60_000 + b"\n",
        b"x" * 100_000,
        (CHUNK + ', "payload_length": 30000000}\n').encode(),
    ],
    ids=range(22),
)
def test_garbage_ends_the_connection_with_a_reason(quiet_home, data):
    answer = raw(quiet_home, data)
    head, _, rest = answer.partition("\n")
    assert json.loads(head)["type"] == "error"
    assert json.loads(rest)["text"]


def test_events_that_nobody_knows_are_passed_over(quiet_home):
    async def work(client):
        await client.write_event(Event("select-program", {"name": "wheatear"}))
        await client.write_event(Event("no-such-thing", {"a": 1}, b"payload"))
        await client.write_event(Describe().event())
        return await said(client, Info)

    assert isinstance(run(quiet_home, work)[0], Info)


def test_clients_that_die_leave_nothing(quiet_home, spoken):
    pieces = [
        b'{"type": "descr',
        b'{"type": "describe", "data_length": 100}\n{"a"',
        (CHUNK + ', "payload_length": 1000}\n').encode() + b"\0" * 10,
        (CHUNK + f', "payload_length": {2 * len(spoken)}}}\n').encode() + spoken.tobytes(),
    ]
    for piece in pieces * 3:
        line = socket.create_connection(("127.0.0.1", quiet_home.wyoming))
        line.sendall(piece)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        line.close()  # without a word: a reset


def test_who_is_silent_is_let_go():
    with running("--wyoming-port", "0", WHEATEAR_SERVE_LIMITS_IDLE_SECONDS="0.5") as server:
        server.wyoming = port_of(server)
        for piece in (b"", b'{"type": "desc', b'{"type": "describe", "payload_length": 9}\n123'):
            assert '"idle"' in raw(server, piece)
        server.wait_for_rest()


def test_places_are_those_of_all_live_sockets(spoken):
    """From the first audio on: who only asks what there is needs none."""
    start = b'{"type": "audio-start", "data": {"rate": 16000, "width": 2, "channels": 1}}\n'
    with running("--wyoming-port", "0", WHEATEAR_SERVE_LIMITS_STREAMS="1") as server:
        server.wyoming = port_of(server)

        async def work(client):
            await speak(client, spoken)
            await said(client, TranscriptChunk)
            asked = await asyncio.to_thread(_asked, server, b'{"type": "describe"}\n')
            return asked, raw(server, start)

        described, refused = run(server, work)
        assert '"info"' in described
        assert '"overloaded"' in refused
        server.wait_for_rest()
        assert server.metric("wheatear_refused", reason="overloaded") == 1


def _asked(server, data):
    """The first line of an answer."""
    with socket.create_connection(("127.0.0.1", server.wyoming), timeout=30) as line:
        line.sendall(data)
        return line.makefile().readline()


def test_idle_connections_hold_no_places(tmp_path, spoken):
    """Many of them, with and without something said: others come in, on this port and elsewhere."""
    file = tmp_path / "keys.toml"
    key = make_key(file, "somebody")
    options = {"WHEATEAR_SERVE_WYOMING_OPEN": "true", "WHEATEAR_SERVE_LIMITS_STREAMS": "20"}
    arguments = ["--wyoming-port", "0", "--api-key-file", str(file)]
    with running(*arguments, **options) as server, ExitStack() as held:
        server.wyoming, server.key = port_of(server), key
        for n in range(200):
            line = socket.create_connection(("127.0.0.1", server.wyoming), timeout=30)
            held.enter_context(line)
            line.sendall(b'{"type": "ping"}\n' if n % 2 else b"")
        headers = {"x-api-key": key}
        with websocket(f"{server.ws}/ws", additional_headers=headers) as keyed:
            assert json.loads(keyed.recv(timeout=30))["type"] == "ready"
        assert "calling" in check(run(server, lambda client: command(client, spoken)))
        assert server.used()["descriptors"] < 120


def test_streams_of_this_port_leave_room_for_keys(tmp_path, spoken):
    """Commands that go on, of one address, as many as there are places."""
    file = tmp_path / "keys.toml"
    key = make_key(file, "somebody")
    options = {"WHEATEAR_SERVE_WYOMING_OPEN": "true", "WHEATEAR_SERVE_LIMITS_STREAMS": "10"}
    start = b'{"type": "audio-start", "data": {"rate": 16000, "width": 2, "channels": 1}}\n'
    arguments = ["--wyoming-port", "0", "--api-key-file", str(file)]
    with running(*arguments, **options) as server, ExitStack() as held:
        server.wyoming, server.key = port_of(server), key
        for _ in range(8):
            line = socket.create_connection(("127.0.0.1", server.wyoming), timeout=30)
            held.enter_context(line)
            line.sendall(start)
        deadline = time.monotonic() + 30
        while server.metric("wheatear_streams") < 8:
            assert time.monotonic() < deadline
        assert '"too_many_sessions"' in raw(server, start)
        headers = {"x-api-key": key}
        with websocket(f"{server.ws}/ws", additional_headers=headers) as keyed:
            assert json.loads(keyed.recv(timeout=30))["type"] == "ready"


def test_who_brings_no_audio_is_let_go_whatever_else_it_says():
    with running("--wyoming-port", "0", WHEATEAR_SERVE_LIMITS_IDLE_SECONDS="1") as server:
        server.wyoming = port_of(server)
        with socket.create_connection(("127.0.0.1", server.wyoming), timeout=30) as line:
            got, deadline = b"", time.monotonic() + 30
            while b'"idle"' not in got:
                assert time.monotonic() < deadline
                line.sendall(b'{"type": "ping"}\n')
                got += line.recv(1 << 16)
                time.sleep(0.1)
        assert b"pong" in got


def test_a_session_that_is_too_long_gets_its_answer(spoken):
    with running("--wyoming-port", "0", WHEATEAR_SERVE_LIMITS_SESSION_SECONDS="3") as server:
        server.wyoming = port_of(server)

        async def work(client):
            await speak(client, spoken)
            return await said(client)

        assert "calling" in check(run(server, work))


def test_going_down_answers(spoken):
    with running("--wyoming-port", "0", WHEATEAR_SERVE_DRAIN_SECONDS="1") as server:
        server.wyoming = port_of(server)

        async def work(client):
            await speak(client, spoken[:50_000])
            first = await said(client, TranscriptChunk)
            server.process.terminate()
            time.sleep(0.2)
            assert '"shutting_down"' in raw(server, b'{"type": "describe"}\n')
            return [*first, *await said(client)]

        assert check(run(server, work)).lower().startswith("i'm sorry")
        assert server.process.wait(30) == 0
        assert "Traceback" not in server.log


def test_with_keys_it_must_be_meant(tmp_path, spoken, capsys):
    file = tmp_path / "keys.toml"
    make_key(file, "somebody")
    arguments = ["--wyoming-port", "0", "--api-key-file", str(file)]
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--port", "0", *arguments])
    assert ended.value.code == 2
    assert "wyoming_open" in capsys.readouterr().err
    with running(*arguments, WHEATEAR_SERVE_WYOMING_OPEN="true") as server:
        server.wyoming = port_of(server)
        assert "calling" in check(run(server, lambda client: command(client, spoken)))
