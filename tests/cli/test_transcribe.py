"""The command as a person uses it: text as it comes, one clear line when something is wrong."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from checkpoints import ORACLE, speech

import wheatear
from wheatear.audio.byte_source import Window
from wheatear.cli import app, main
from wheatear.common.terminal_text import printable, readable

RUN = [sys.executable, "-m", "wheatear"]
SAMPLE = "src/wheatear/data/samples/en-US.flac"
PCM = (speech("tiny-multi") * 32768).astype("<i2").tobytes()


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "speech.wav"
    soundfile.write(path, speech("tiny-multi"), 16000)
    return path


@pytest.fixture
def model(bundle_of):
    return str(bundle_of("tiny-multi"))


@pytest.fixture
def expected(recognizer_of):
    return recognizer_of("tiny-multi").transcribe(speech("tiny-multi"))


def lines_of(recognizer, **options):
    """The text format: a line for each turn."""
    finals = []
    recognizer.transcribe(
        speech("tiny-multi"),
        on_event=lambda e: finals.append(e.text) if isinstance(e, wheatear.Final) else None,
        **options,
    )
    return "".join(text + "\n" for text in finals if text)


@pytest.fixture
def lines(recognizer_of):
    return lines_of(recognizer_of("tiny-multi"))


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs the command in this process; returns exit code, standard output and error."""
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return exit_.value.code, out, err

    return call


def test_version_and_help(run):
    assert run("--version")[:2] == (0, f"{wheatear.__version__}\n")
    for command in (
        "transcribe",
        "listen",
        "convert",
        "train",
        "finetune",
        "evaluate",
        "reproduce",
        "locales",
        "info",
    ):
        assert command in run("--help")[1]
        assert "Usage" in run(command, "--help")[1]


def commands(inside, before=()):
    """The names of all commands, and of those inside them."""
    yield before
    for name in inside:
        if not name.startswith("-"):
            yield from commands(inside[name], (*before, name))


@pytest.mark.parametrize("command", [*commands(app)], ids=" ".join)
def test_help_shows_no_code(run, command):
    """Defaults are what a person would type."""
    code, out, err = run(*command, "--help")
    assert (code, err) == (0, "")
    assert f"Usage: {' '.join(['wheatear', *command])}" in out
    text = " ".join(out.replace("\u2502", " ").split())
    for default in re.findall(r"\[default: ?(.*?)\]", text):
        assert default
        assert not re.search(r"[()'\"<>{}]|None|True|False", default)
        assert not default.endswith(",")


def test_a_published_model_that_is_not_here_is_described(run, monkeypatch, tmp_path):
    monkeypatch.setenv("WHEATEAR_MODELS", str(tmp_path))
    for name in ("nemotron-3.5", "nvidia/nemotron-3.5-asr-streaming-0.6b"):
        code, out, err = run("info", name)
        assert (code, err) == (0, "")
        for part in (f"wheatear pull {name}", "80, 160, 320, 560, 1120 ms", "2.5 GB", "OpenMDW"):
            assert part in out
        assert "ja-JP" in out
    assert "320" not in run("info", "nemotron-en")[1]


def test_text(run, wav, model, lines):
    assert run("transcribe", wav, "--model", model) == (0, lines, "")


def test_options_reach_the_model(run, wav, model, recognizer_of):
    code, out, _ = run(
        "transcribe", wav, "--model", model, "--language", "ja-JP", "--latency", "80"
    )
    recognizer = recognizer_of("tiny-multi")
    assert (code, out) == (0, lines_of(recognizer, language="ja-JP", latency_ms=80))


def test_json(run, wav, model, expected):
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


def test_several_files_and_one_that_is_missing(run, wav, model, lines, tmp_path):
    code, out, err = run("transcribe", wav, tmp_path / "no.wav", wav, "--model", model)
    assert code == 2
    assert out == f"== {wav} ==\n{lines}" * 2
    assert err.count("\n") == 1
    assert "no.wav" in err


def test_the_name_of_the_output_chooses_the_format(run, wav, model, lines, expected, tmp_path):
    def made(name, *options):
        code, out, err = run(
            "transcribe", wav, "--model", model, "--output", tmp_path / name, *options
        )
        assert (code, out) == (0, "")
        assert err == f"wheatear: wrote {tmp_path / name}\n"
        return (tmp_path / name).read_text(encoding="utf-8")

    assert made("a.txt") == made("a") == made("a.out") == lines
    assert "-->" in made("a.srt")
    assert made("A.VTT").startswith("WEBVTT")
    assert made("a.tsv").startswith("start\tend")
    assert json.loads(made("a.json"))["text"] == expected.text
    assert all(json.loads(line)["file"] == str(wav) for line in made("a.jsonl").splitlines())
    assert made("b.txt", "--format", "srt") == (tmp_path / "a.srt").read_text()  # as it was said


def test_an_output_is_replaced_if_that_is_wanted_alone(run, wav, model, lines, tmp_path):
    out = tmp_path / "a.txt"
    out.write_text("by hand")
    code, _, err = run("transcribe", wav, "--model", model, "--output", out)
    assert (code, out.read_text()) == (2, "by hand")
    assert "exists already; --overwrite" in err
    assert run("transcribe", wav, "--model", model, "--output", out, "--overwrite")[0] == 0
    assert out.read_text() == lines
    assert run("transcribe", wav, "--model", model, "--output", "/dev/null")[0] == 0
    code, _, err = run("transcribe", wav, "--model", model, "--output", tmp_path / "no" / "x")
    assert code == 2
    assert "cannot write" in err


def test_a_file_that_fails_leaves_no_empty_output(run, wav, model, tmp_path):
    wav.write_bytes(b"no audio at all")
    out = tmp_path / "a.srt"
    assert run("transcribe", wav, "--model", model, "--output", out)[0] == 2
    assert not out.exists()


@pytest.mark.parametrize("form", ["srt", "vtt", "tsv", "verbose_json"])
def test_several_files_are_not_mixed(run, wav, model, tmp_path, form):
    """Two subtitle files behind each other are none."""
    for output in ([], ["--output", tmp_path / "both"]):
        code, out, err = run("transcribe", wav, wav, "--model", model, "--format", form, *output)
        assert (code, out) == (2, "")
        assert f"{form} holds the transcript of one file" in err
        assert "--output-dir FOLDER" in err
    assert not (tmp_path / "both").exists()


def test_formats_that_name_their_file_hold_several(run, wav, model, tmp_path):
    twin = tmp_path / "twin.wav"
    twin.write_bytes(wav.read_bytes())
    out = tmp_path / "all.jsonl"
    assert run("transcribe", wav, twin, "--model", model, "--output", out)[0] == 0
    files = [json.loads(line)["file"] for line in out.read_text().splitlines()]
    assert sorted(set(files)) == sorted([str(wav), str(twin)])
    code, _, err = run("transcribe", wav, twin, "--model", model, "--output", tmp_path / "a.txt")
    assert code == 2
    assert "--output-dir" in err


def test_a_folder_takes_a_file_for_each(run, wav, model, lines, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    twin = other / wav.name
    twin.write_bytes(wav.read_bytes())
    folder = tmp_path / "texts"
    for _ in range(2):  # and a second command finds everything done
        code, out, err = run("transcribe", wav, twin, "--model", model, "--output-dir", folder)
        assert (code, out) == (0, "")
        texts = sorted(folder.iterdir())
        assert [path.read_text() for path in texts] == [lines] * 2
    assert f"wrote 0 of 2 transcripts to {folder}" in err
    code, _, err = run("transcribe", wav, "--output", "a", "--output-dir", "b")
    assert code == 2
    assert "not both" in err


def test_the_input_is_never_the_output(run, wav, model):
    before = wav.read_bytes()
    code, _, err = run("transcribe", wav, "--model", model, "--output", wav)
    assert code == 2
    assert "one of the files to transcribe" in err
    assert wav.read_bytes() == before


def test_describing_raw_input_declares_it(run, model, lines, tmp_path):
    path = tmp_path / "stereo"
    path.write_bytes(np.repeat(np.frombuffer(PCM, "<i2"), 2).tobytes())
    code, out, _ = run("transcribe", path, "--model", model, "--channels", "2")
    assert (code, out) == (0, lines)


def test_a_full_disk_is_one_line(model, wav):
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["transcribe"], "FILES"),
        (["transcribe", "--frobnicate"], "--frobnicate"),
        (["transcribe", "{wav}", "--model", "nowhere"], "no model 'nowhere'"),
        (["transcribe", "{wav}", "--model", "{model}", "--language", "tlh"], "'tlh'"),
        (["transcribe", "{wav}", "--model", "{model}", "--latency", "100"], "80, 160, 320"),
        (["transcribe", "{wav}", "--model", "{model}", "--latency", "soon"], "soon"),
        (["transcribe", "{wav}", "--model", "{model}", "--format", "doc"], "doc"),
        (["transcribe", "{wav}", "--model", "{model}", "--threads", "0"], "threads"),
        (["transcribe", "{wav}", "--model", "{model}", "--raw", "--rate", "5"], "5 Hz"),
        (["transcribe", "{text}", "--model", "{model}"], "cannot decode"),
        (["convert", "{text}", "{out}"], "neither a .nemo"),
        (["convert", "{nemo}", "{folder}"], "already exists"),
        (["convert", "{nemo}", "{out}", "--precision", "int2"], "int2"),
        (["info", "{folder}"], "no manifest.json"),
        (["dance"], "dance"),
        (["transcrib"], "Did you mean transcribe?"),
        (["--formt", "srt"], "unknown option '--formt'"),
        (["transcribe", "{wav}", "--formt", "srt"], "Did you mean --format?"),
        (["transcribe", "{wav}", "--lattency=80"], "Did you mean --latency?"),
        (["transcribe", "{wav}", "--format", "str"], "Did you mean"),
        (["listen", "--outptu", "a"], "Did you mean --output?"),
        (["serve", "--prot", "1"], "Did you mean --port?"),
        (["bench", "serv"], "Did you mean serve?"),
        (["info", "wheatear-smal"], "did you mean wheatear-small?"),
        (["transcribe", "{wav}", "--model", "Nemotron"], "nemotron-3.5"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, wav, model, tmp_path, arguments, message):
    text = tmp_path / "text.txt"
    text.write_text("This is not audio.\n" * 60)
    places = {
        "wav": wav,
        "model": model,
        "text": text,
        "out": tmp_path / "new",
        "folder": tmp_path,
        "nemo": ORACLE / "tiny-en.nemo",
    }
    code, out, err = run(*(a.format(**places) for a in arguments))
    assert code == 2
    assert out == ""
    assert err.startswith("wheatear: ")
    assert err.count("\n") == 1
    assert message in err.replace('"', "")


def test_a_cut_off_file_is_transcribed_and_mentioned(wav, model):
    wav.write_bytes(wav.read_bytes()[:100_044])
    command = [*RUN, "transcribe", str(wav), "--model", model]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(done.stdout) > 1
    assert "cut off: it promises 11.7 s" in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_was_heard_before_a_fault_is_kept(run, model, tmp_path, lines):
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


def test_convert_and_info(run, tmp_path):
    out = tmp_path / "bundle"
    code, text, _ = run("convert", ORACLE / "tiny-multi.nemo", out, "--precision", "int4")
    assert code == 0
    assert "int4" in text
    assert "encoder output differs by" in text
    code, text, _ = run("info", out)
    assert code == 0
    for part in ("int4", "80, 160, 320 (default), 560, 1120 ms", "ja-JP", "encoder.weights"):
        assert part in text


# -- live, in a process of its own ----------------------------------------------------------------


def start(*arguments, **options):
    return subprocess.Popen(
        [*RUN, "transcribe", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options
    )


def read_until(process, text, seconds=20):
    """Standard output until it holds `text`."""
    os.set_blocking(process.stdout.fileno(), False)
    seen, end = b"", time.monotonic() + seconds
    while text not in seen:
        assert time.monotonic() < end, seen
        assert process.poll() is None, seen
        seen += process.stdout.read() or b""
        time.sleep(0.02)
    os.set_blocking(process.stdout.fileno(), True)
    return seen


def test_live_text_comes_before_the_audio_ends(model, recognizer_of):
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
def test_a_signal_prints_what_was_transcribed(model, recognizer_of, form, number):
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
def test_a_signal_inside_the_decoder_is_not_the_end_of_the_file(
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
    code, said, err = run("transcribe", path, "--model", model, *(["--output", out] * output))
    assert reads
    assert code == 130
    assert "Traceback" not in err
    partial = tmp_path / "out.txt.partial"
    said = partial.read_text() if output else said
    assert said.endswith("\n")
    assert err == (f"wheatear: {partial} has what was transcribed so far\n" if output else "")
    assert not out.exists()  # so that the same command may be given again
    assert len(said) < 4 * len(lines)


def test_a_reader_that_goes_away_is_no_error(model, wav):
    process = start(*[str(wav)] * 20, "--model", model, stderr=subprocess.PIPE)
    assert process.stdout.readline()
    process.stdout.close()
    _, err = process.communicate()
    assert (process.returncode, err) == (0, b"")


@pytest.mark.parametrize("command", ["info", "models", "locales --all", "--help"])
def test_short_answers_to_a_closed_pipe_or_a_full_disk(command):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*RUN, *command.split()], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*RUN, *command.split()], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (2, b"wheatear: No space left on device\n")


# -- characters -----------------------------------------------------------------------------------

NARROW = [
    {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONIOENCODING": "ascii:strict"},
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
]


ASKED = ["--language", "en-US", "--phrase", "\u042dm\u00e9 ^0 | person"]


@pytest.mark.parametrize("environment", NARROW)
def test_a_pipe_is_utf_8_whatever_the_locale(tmp_path, environment):
    path = tmp_path / "caf\u00e9 \u4f1a.flac"
    path.write_bytes(Path(SAMPLE).read_bytes())
    command = [*RUN, "transcribe", str(path), "no-\u4f1a.wav", *ASKED, "--format", "jsonl"]
    env = {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, check=False, env=env)
    first = json.loads(done.stdout.decode().splitlines()[0])
    assert first["file"] == str(path)
    assert "the \u042dm\u00e9 you" in first["text"]
    assert "\\u" not in done.stdout.decode()
    assert "no-\u4f1a.wav" in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_a_narrow_terminal_gets_replacements():
    """Neither an error nor escapes such as \\u042d."""
    command = [*RUN, "transcribe", SAMPLE, *ASKED]
    seen, code = on_terminal(command, PYTHONIOENCODING="cp1252", COLUMNS="4000")
    assert code == 0
    assert "the ?m\u00e9 you".encode("cp1252") in seen
    assert b"\\u" not in seen


def test_tables_on_a_narrow_terminal():
    for command in (["locales", "--all"], ["info"], ["models"], ["--help"]):
        seen, code = on_terminal([*RUN, *command], PYTHONIOENCODING="cp1252")
        assert code == 0
        assert b"Traceback" not in seen


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
def test_a_name_is_written_as_text(run, wav, model, lines, tmp_path, name):
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


def on_terminal(command, **environment):
    """What a program writes to a terminal, and its exit code."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update({"COLUMNS": "60", "TERM": "xterm", **environment})
        os.execv(command[0], command)
    seen = b""
    try:
        while part := os.read(terminal, 4096):
            seen += part
    except OSError:
        pass  # what reading a terminal gives when its program has ended
    os.close(terminal)
    return seen, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_on_a_terminal_there_is_a_bar_and_the_whole_text(model, wav, expected):
    """Both streams on one terminal: every word is there, wrapped, and the bar is gone."""
    seen, code = on_terminal([*RUN, "transcribe", str(wav), "--model", model])
    assert code == 0
    assert b"%" in seen
    assert b"\x1b[?25h" in seen  # the cursor is back
    last_words = expected.text.split()[-1].encode()
    assert last_words in seen


def test_forms_phrases_and_beams(run, tmp_path):
    """On the model that comes with Wheatear, in whose language these mean something."""
    plain = run("transcribe", SAMPLE, "--language", "en-US")[1]
    bare = run("transcribe", SAMPLE, "--language", "en-US", "--no-punctuation", "--no-capitals")[1]
    assert bare == plain.lower().translate(str.maketrans("", "", ".,?!"))
    mask, phrases = tmp_path / "mask.txt", tmp_path / "phrases.txt"
    word = max(bare.split(), key=len)
    mask.write_text(f"# not these\n{word}\n")
    assert word not in run("transcribe", SAMPLE, "--language", "en-US", "--mask", mask)[1].lower()
    assert "*" * len(word) in run("transcribe", SAMPLE, "--language", "en-US", "--mask", mask)[1]
    phrases.write_text(f"Somebody ^0 | {word}\n\n# nothing\ncalling\n")
    named = run("transcribe", SAMPLE, "--language", "en-US", "--phrases", phrases)[1]
    assert "Somebody" in named
    assert word not in named.lower()
    for options in (
        ("--beam", "4"),
        ("--beam", "4", "--phrase", "calling"),
        ("--numbers", "written"),
    ):
        code, out, err = run("transcribe", SAMPLE, "--language", "en-US", *options)
        assert (code, err) == (0, "")
        assert out.strip()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--phrase", "!!!"], "needs a letter"),
        (["--phrase", "a ^x"], "no number"),
        (["--phrase", "a ^99"], "0 to 10"),
        (["--phrase", "今日"], "cannot write"),
        (["--phrases", "no-such-file"], "cannot read no-such-file"),
        (["--beam", "0"], "beam is 0"),
        (["--language-model", "no-such-file"], "--beam 4"),
        (["--language-model", "no-such-file", "--beam", "4"], "cannot be read as an ARPA"),
        (["--numbers", "written", "--language", "ru-RU"], "cannot be written in digits"),
        (["--turn-end", "3"], "80 to 60000"),
        (["--mask", "src"], "cannot read src"),
    ],
)
def test_options_that_make_no_sense(run, options, message):
    code, out, err = run("transcribe", SAMPLE, *options)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
