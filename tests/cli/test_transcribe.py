"""The command transcribe: text, errors, live input, signals, terminals."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from checkpoints import speech
from command_line import PCM, RUN, SAMPLE, lines_of, on_terminal, read_until, start

from wheatear.audio.byte_source import Window
from wheatear.common.terminal_text import printable, readable


def test_txt_has_a_line_for_each_turn(run, wav, model, lines):
    assert run("transcribe", wav, "--model", model) == (0, lines, "")


def test_language_and_latency_reach_the_model(run, wav, model, recognizer_of):
    code, out, _ = run(
        "transcribe", wav, "--model", model, "--language", "ja-JP", "--latency", "80"
    )
    recognizer = recognizer_of("tiny-multi")
    assert (code, out) == (0, lines_of(recognizer, language="ja-JP", latency_ms=80))


def test_json_has_tokens_and_words(run, wav, model, expected):
    code, out, _ = run("transcribe", wav, "--model", model, "--format", "json")
    data = json.loads(out)
    assert code == 0
    assert data["file"] == str(wav)
    assert data["complete"] is True
    assert (data["text"], data["duration"]) == (expected.text, expected.duration)
    tokens = [token for final in data["finals"] for token in final["tokens"]]
    assert [token["id"] for token in tokens] == [token.id for token in expected.tokens]
    assert set(tokens[0]) == {"id", "text", "start", "end", "confidence"}
    words = [word["text"] for final in data["finals"] for word in final["words"]]
    assert words == [word.text for word in expected.words]


def test_missing_file_does_not_stop_others(run, wav, model, lines, tmp_path):
    code, out, err = run("transcribe", wav, tmp_path / "no.wav", wav, "--model", model)
    assert code == 2
    assert out == f"== {wav} ==\n{lines}" * 2
    assert err.count("\n") == 1
    assert "no.wav" in err


def test_channels_option_implies_raw_input(run, model, lines, tmp_path):
    path = tmp_path / "stereo"
    path.write_bytes(np.repeat(np.frombuffer(PCM, "<i2"), 2).tobytes())
    code, out, _ = run("transcribe", path, "--model", model, "--channels", "2")
    assert (code, out) == (0, lines)


def test_full_disk_is_one_line_of_error(model, wav):
    for arguments in (["--output", "/dev/full"], []):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [*RUN, "transcribe", str(wav), "--model", model, *arguments],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 2
        assert done.stderr.startswith("wheatear: No space left")
        assert done.stderr.count("\n") == 1


def test_truncated_file_is_transcribed_with_a_warning(wav, model):
    wav.write_bytes(wav.read_bytes()[:100_044])
    command = [*RUN, "transcribe", str(wav), "--model", model]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(done.stdout) > 1
    assert "cut off: it promises 11.7 s" in done.stderr
    assert done.stderr.count("\n") == 1


def test_text_before_an_error_is_kept(run, model, tmp_path, lines):
    """A file that turns to garbage half-way still gives its first half."""
    samples = speech("tiny-multi").copy()
    samples[-8000] = np.nan
    path = tmp_path / "broken.wav"
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    code, out, err = run("transcribe", path, "--model", model)
    assert code == 2
    assert "not numbers" in err
    assert len(out.strip()) > len(lines) / 2
    assert lines.startswith(out.rstrip("\n"))


def test_live_text_is_written_before_the_audio_ends(model, recognizer_of):
    with start("-", "--model", model, "--latency", "320") as process:
        process.stdin.write(PCM[: len(PCM) // 2])
        process.stdin.flush()
        expected = lines_of(recognizer_of("tiny-multi"), latency_ms=320)
        first = read_until(process, expected[:20].encode())
        rest, _ = process.communicate(PCM[len(PCM) // 2 :])
    assert (first + rest).decode() == expected
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("form", "number"),
    [
        ("txt", signal.SIGINT),
        ("json", signal.SIGINT),
        ("txt", signal.SIGTERM),
        ("txt", signal.SIGHUP),
    ],
)
def test_signal_ends_with_the_text_until_then(model, recognizer_of, form, number):
    recognizer = recognizer_of("tiny-multi")
    expected = recognizer.transcribe(speech("tiny-multi"), latency_ms=320)
    lines = lines_of(recognizer, latency_ms=320)
    with start("-", "--model", model, "--format", form, stderr=subprocess.PIPE) as process:
        process.stdin.write(PCM[: len(PCM) // 2])
        process.stdin.flush()
        first = b""
        if form == "txt":
            first = read_until(process, lines[:20].encode())
        else:
            time.sleep(3)
        process.send_signal(number)
        out, err = process.communicate()
    assert process.returncode == 128 + number
    assert b"Traceback" not in err
    text = (first + out).decode()
    assert text.endswith("\n")
    if form == "json":
        data = json.loads(text)
        assert data["complete"] is False
        assert len(data["text"]) > 10
        assert expected.text.startswith(data["text"])
    else:
        assert len(text) > 10
        assert lines.startswith(text[:-1])


@pytest.mark.parametrize("output", [False, True])
def test_signal_in_the_decoder_is_not_the_end_of_the_file(
    run, model, tmp_path, monkeypatch, output, lines
):
    """C code swallows what Python raises in its callbacks, and takes it for the end."""
    path, out = tmp_path / "long.mp3", tmp_path / "out.txt"
    soundfile.write(path, np.tile(speech("tiny-multi"), 4), 16000)
    reads = 0
    real = Window.readinto

    def struck(self, buffer):
        nonlocal reads
        if not reads and 0.6 * len(self) < self.at <= len(self):
            reads += 1
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, buffer)

    monkeypatch.setattr(Window, "readinto", struck)
    code, text, err = run("transcribe", path, "--model", model, *(["--output", out] * output))
    assert reads
    assert code == 130
    assert "Traceback" not in err
    partial = tmp_path / "out.txt.partial"
    text = partial.read_text() if output else text
    assert text.endswith("\n")
    assert err == (f"wheatear: {partial} has the text until then\n" if output else "")
    assert not out.exists()  # so that the same command may be given again
    assert len(text) < 4 * len(lines)


def test_closed_pipe_is_no_error(model, wav):
    process = start(*[str(wav)] * 20, "--model", model, stderr=subprocess.PIPE)
    assert process.stdout.readline()
    process.stdout.close()
    _, err = process.communicate()
    assert (process.returncode, err) == (0, b"")


NARROW = [
    {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONIOENCODING": "ascii:strict"},
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
]


OPTIONS = ["--language", "en-US", "--phrase", "\u042dm\u00e9 ^0 | person"]


@pytest.mark.parametrize("environment", NARROW)
def test_pipe_is_utf_8_in_any_locale(tmp_path, environment):
    path = tmp_path / "caf\u00e9 \u4f1a.flac"
    path.write_bytes(Path(SAMPLE).read_bytes())
    command = [*RUN, "transcribe", str(path), "no-\u4f1a.wav", *OPTIONS, "--format", "jsonl"]
    env = {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, check=False, env=env)
    first = json.loads(done.stdout.decode().splitlines()[0])
    assert first["file"] == str(path)
    assert "the \u042dm\u00e9 you" in first["text"]
    assert "\\u" not in done.stdout.decode()
    assert "no-\u4f1a.wav" in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_terminal_without_unicode_gets_replacements():
    """Neither an error nor escapes such as \\u042d."""
    command = [*RUN, "transcribe", SAMPLE, *OPTIONS]
    seen, code = on_terminal(command, PYTHONIOENCODING="cp1252", COLUMNS="4000")
    assert code == 0
    assert "the ?m\u00e9 you".encode("cp1252") in seen
    assert b"\\u" not in seen


@pytest.mark.parametrize(
    "name",
    [
        b"caf\xe9.wav",
        b"\xff\xfe.wav",
        b"[bold]x[blink] :smile: [].wav",
        b"a\x1b]0;owned\x07b\x1b[2J.wav",
        b"two\nlines\r.wav",
        "\u202egpj.wav".encode(),
        b"\\[red].wav",
    ],
)
def test_file_names_are_written_as_text(run, wav, model, lines, tmp_path, name):
    path = os.path.join(tmp_path, os.fsdecode(name))
    wav.rename(path)
    code, out, err = run("transcribe", path, path, "--model", model)
    assert (code, err) == (0, "")
    assert out == f"== {printable(path)} ==\n{lines}" * 2
    for form in ("json", "jsonl", "ctm"):
        code, out, err = run("transcribe", path, "--model", model, "--format", form)
        assert (code, err) == (0, "")
        assert out.encode("utf-8")
        if form == "json":
            assert json.loads(out)["file"] == readable(path)
        if form == "ctm":
            assert {len(line.split(" ")) for line in out.splitlines()} == {6}
    folder = tmp_path / "out"
    code, out, err = run(
        "transcribe", path, tmp_path / "no", "--model", model, "--output-dir", folder
    )
    assert code == 2
    assert "1 done, 1 failed" in err
    assert "\x1b" not in err
    assert len(list(folder.iterdir())) == 1


def test_terminal_gets_a_bar_and_the_whole_text(model, wav, expected):
    """Both streams on one terminal: every word is there, wrapped, and the bar is gone."""
    seen, code = on_terminal([*RUN, "transcribe", str(wav), "--model", model])
    assert code == 0
    assert b"%" in seen
    assert b"\x1b[?25h" in seen  # the cursor is back
    last_words = expected.text.split()[-1].encode()
    assert last_words in seen
