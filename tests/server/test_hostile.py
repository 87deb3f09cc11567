"""Every attack, once: the server survives, keeps no memory, and continues to transcribe."""

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import attacks
import hostile_hour
import hostile_media
import numpy as np
import pytest
import raw_socket as raw
from good_stream import Answers, speak
from server_process import Server, running

import wheatear


@pytest.fixture(scope="module")
def recognizer() -> wheatear.Recognizer:
    return wheatear.load(threads=1)


@pytest.fixture(scope="module")
def expected(recognizer: wheatear.Recognizer, spoken: np.ndarray) -> str:
    return recognizer.transcribe(spoken, latency_ms=160).text


@pytest.fixture
def unharmed(quiet_server: Server, spoken: np.ndarray, expected: str) -> Iterator[Server]:
    """The shared server; after the attack it is at rest, and transcribes as before."""
    yield quiet_server
    quiet_server.wait_for_rest(60)
    after = Answers()
    speak(f"{quiet_server.ws}/ws?latency=160", spoken, after, pace=0)
    assert after.texts == [expected], after.faults
    assert quiet_server.get("/health")[0] == 200
    assert "Traceback" not in quiet_server.log, quiet_server.log
    assert " ERROR " not in quiet_server.log, quiet_server.log


@pytest.mark.parametrize("attack", attacks.ALL)
def test_attack(unharmed, attack):
    attacks.ALL[attack](unharmed.port)


def test_files_that_are_no_audio(unharmed):
    """Each is refused in words, or what there is of it is transcribed."""
    for name, sound in hostile_media.files().items():
        answer = raw.answer(unharmed.port, raw.upload(raw.form([], [("file", sound)])))
        body = json.loads(answer.partition(b"\r\n\r\n")[2])
        if raw.status(answer) == 400:
            assert body["error"]["param"] == "file", name
            assert body["error"]["code"] == "invalid_audio", name
            words = body["error"]["message"]
            assert not re.search("passwd|<script|Traceback|0x[0-9a-f]{6}", words), name
        else:
            assert raw.status(answer) == 200, name
            assert set(body) >= {"text", "usage"}, name


def test_killed_clients_do_not_touch_a_stream_that_goes_on(unharmed, spoken, recognizer):
    """Processes ended with SIGKILL in a loop, beside a stream at the pace of speech."""
    answers, samples = Answers(), np.tile(spoken, 2)
    address = f"{unharmed.ws}/ws?latency=160"
    good = threading.Thread(target=speak, args=(address, samples, answers))
    good.start()
    while good.is_alive():
        attacks.processes_that_are_killed(unharmed.port)
    good.join()
    assert answers.faults == []
    assert answers.texts == [recognizer.transcribe(samples, latency_ms=160).text]


def test_two_models_side_by_side(spoken, expected):
    """An attack on one of them does not affect the other."""
    bundle = Path(wheatear.__file__).parent / "data" / "models" / "wheatear-small"
    models = ("--model", f"one={bundle}", "--model", f"two={bundle}")
    with running(*models) as server:
        answers = Answers()
        address = f"{server.ws}/ws?model=two&latency=160"
        good = threading.Thread(target=speak, args=(address, spoken, answers))
        good.start()
        for attack in (attacks.hours_in_a_message, attacks.cuts_all_the_time, attacks.bombs):
            attack(server.port)
        good.join()
        assert (answers.texts, answers.faults) == ([expected], [])
        assert server.metric("wheatear_tokens") > 0
        server.wait_for_rest(60)
        assert "Traceback" not in server.log, server.log


@pytest.mark.slow
def test_a_minute_of_all_of_it():
    """Good streams keep their text, and nothing is left of the attacks."""
    report = hostile_hour.run(minutes=1, quiet_seconds=20, attackers=2, streams=2)
    assert report.good_streams > 2
    assert report.attacks > 20
    loaded = hostile_hour.Bounds(lag_p50=2.0, lag_p99=20.0, wait_p99=30.0)  # by other tests
    assert report.broken(loaded) == []


def _report(**changed: object) -> hostile_hour.Report:
    """A run in which all was well, but for what is changed."""
    used = [{"memory": 300.0, "descriptors": 20.0, "threads": 9.0}] * 90
    well = {
        "hostile": [0.1] * 100, "lag_hostile": {0.1: 99.0, float("inf"): 100.0}, "used": used,
        "exit_code": 0,
    }  # fmt: skip
    return hostile_hour.Report(**well | changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({}, None),
        ({"hostile": [0.1] * 100 + [9.0] * 5}, "from word to text"),
        ({"lag_hostile": {0.1: 5.0, 2.0: 9.0, 4.0: 100.0}}, "lag"),
        ({"used": [{"memory": 2000.0, "descriptors": 1, "threads": 1}] * 2}, "MB at the most"),
        (
            {"used": [{"memory": 5.0 * n, "descriptors": 1, "threads": 1} for n in range(99)]},
            "in the last third",
        ),
        (
            {"used": [{"memory": 1, "descriptors": n, "threads": 1} for n in (5, 99)]},
            "descriptors more",
        ),
        ({"left": {"wheatear_sockets": 1.0}}, "places held"),
        ({"tracebacks": 1}, "tracebacks"), ({"exit_code": -9}, "exit code"),
        ({"faults": ["closed"]}, "faults"), ({"texts_that_differ": 2}, "texts"),
    ],
)  # fmt: skip
def test_a_run_is_held_to_bounds(changed, what):
    broken = _report(**changed).broken(hostile_hour.Bounds())
    assert broken == [] if what is None else any(what in line for line in broken), broken
