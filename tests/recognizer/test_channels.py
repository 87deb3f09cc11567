"""Recordings whose channels are transcribed apart, and merged by time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import wheatear
from wheatear import AudioError
from wheatear.audio.pcm import RawFormat
from wheatear.audio.reader import open_audio, sample_speech
from wheatear.cli import main
from wheatear.recognizer.channels import transcribe_channels
from wheatear.recognizer.options import StreamOptions
from wheatear.transcript.results import Final

SPEECH = sample_speech()
RATE = 16_000


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two speakers: the second answers, then both talk at once."""
    first = np.concatenate([SPEECH, silence(10), SPEECH, silence(60)])
    second = np.concatenate([silence(len(SPEECH) / RATE + 2), SPEECH])
    second = np.concatenate([second, silence(3.5), SPEECH])
    second = np.pad(second, (0, len(first) - len(second)))
    path = tmp_path_factory.mktemp("call") / "call.wav"
    soundfile.write(path, np.stack([first, second], 1), RATE)
    return path


def apart(path: object, **options: Any) -> list[Final]:
    finals: list[Final] = []
    recognizer = wheatear.load(threads=1)
    transcribe_channels(
        recognizer,
        open_audio(path, separate_channels=True),
        finals.append,
        StreamOptions(**options),
    )
    return finals


class Blocks:
    """The blocks of a recording, changed by a function."""

    live = False

    def __init__(self, path: Path, change: Callable[[Iterable], Iterable]) -> None:
        self._path, self._change = path, change

    def __iter__(self) -> Iterator:
        return iter(self._change(open_audio(self._path, separate_channels=True)))


def test_channels_get_the_same_text_as_single_recordings_in_order_of_turns(call: Path) -> None:
    recognizer = wheatear.load(threads=1)
    options = {"language": "en-US", "latency_ms": 320}
    samples, _ = soundfile.read(call, dtype="float32")
    found = apart(call, **options)
    assert [f.channel for f in found] != sorted(f.channel for f in found)  # they take turns
    starts = [f.words[0].start for f in found]
    assert starts == sorted(starts)
    for channel in (1, 2):
        single: list = []
        recognizer.transcribe(samples[:, channel - 1], on_event=single.append, **options)
        wanted = [(e.text, e.words) for e in single if isinstance(e, Final) and e.words]
        assert [(f.text, f.words) for f in found if f.channel == channel] == wanted


def test_turns_are_emitted_while_the_audio_continues(call: Path) -> None:
    """A silent channel holds nothing back."""
    read: list[float] = []

    def counted(blocks):
        for block in blocks:
            read.append(len(block) / RATE)
            yield block

    lags: list[float] = []
    seconds = transcribe_channels(
        wheatear.load(threads=1),
        Blocks(call, counted),
        lambda f: lags.append(sum(read) - f.end),
        StreamOptions("en-US"),
    )
    assert seconds == pytest.approx(soundfile.info(call).duration)
    assert lags
    assert max(lags) < 6


def test_other_rates_and_raw_pcm(call: Path, tmp_path: Path) -> None:
    samples, _ = soundfile.read(call, dtype="int16")
    expected = [(f.channel, f.text) for f in apart(call)]
    raw = tmp_path / "call.bin"
    raw.write_bytes(samples.astype("<i2").tobytes())
    finals: list[Final] = []
    audio = open_audio(raw, RawFormat(channels=2), separate_channels=True)
    transcribe_channels(wheatear.load(threads=1), audio, finals.append, StreamOptions())
    assert [(f.channel, f.text) for f in finals] == expected
    blocks = list(open_audio(call, separate_channels=True))
    assert {b.shape[1] for b in blocks} == {2}
    slow = tmp_path / "slow.wav"
    soundfile.write(slow, samples[:, :], 48_000)
    assert np.concatenate(list(open_audio(slow, separate_channels=True))).shape[1] == 2
    soundfile.write(tmp_path / "many.wav", np.zeros((RATE, 17)), RATE)
    with pytest.raises(AudioError, match="17 channels"):
        apart(tmp_path / "many.wav")


@pytest.mark.parametrize(
    "form", ["txt", "srt", "vtt", "tsv", "ctm", "json", "jsonl", "verbose_json"]
)
def test_formats_contain_the_channel(
    call: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["transcribe", str(call), "--channels-apart", "--format", form, "--language", "en-US"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    match form:
        case "txt":
            assert [line[:3] for line in out.splitlines()[:2]] == ["1: ", "2: "]
        case "json":
            assert {f["channel"] for f in json.loads(out)["finals"]} == {1, 2}
        case "jsonl":
            assert {json.loads(line)["channel"] for line in out.splitlines()} == {1, 2}
        case "verbose_json":
            assert {s["channel"] for s in json.loads(out)["segments"]} == {1, 2}
        case "ctm":
            assert {line.split()[1] for line in out.splitlines()} == {"1", "2"}
        case "vtt":
            assert "<v 2>" in out
        case _:
            assert "2: " in out


def test_words_before_a_read_error_are_emitted(call: Path) -> None:
    def broken(blocks):
        for number, block in enumerate(blocks):
            if number == 7:  # in the middle of the first sentence's words
                raise AudioError("the rest is damaged")
            yield block

    finals: list[Final] = []
    with pytest.raises(AudioError, match="damaged"):
        transcribe_channels(
            wheatear.load(threads=1), Blocks(call, broken), finals.append, StreamOptions("en-US")
        )
    assert "".join(final.text for final in finals)
