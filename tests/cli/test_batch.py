"""Batches: folders and several jobs, errors, signals and kills."""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from checkpoints import speech
from command_line import RUN

from wheatear.cli import main
from wheatear.cli.transcription import FileTranscriber
from wheatear.errors import AudioError


@pytest.fixture
def call(capsys, monkeypatch, bundle_of):
    monkeypatch.setenv("COLUMNS", "140")

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["transcribe", *map(str, arguments), "--model", str(bundle_of("tiny-multi"))])
        return ended.value.code, *capsys.readouterr()

    return run


def test_folder_is_transcribed_to_a_folder(call, folder, tmp_path):
    out = tmp_path / "out"
    code, _, err = call(folder, "--recursive", "--jobs", 2, "--output-dir", out, "--format", "srt")
    assert code == 0, err
    made = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert made == ["a.srt", "b.srt", "sub/a.srt"]
    assert (out / "a.srt").read_bytes() == (out / "sub" / "a.srt").read_bytes()
    assert "3 done" in err
    code, _, _ = call(folder / "a.wav", "--format", "srt", "--output", tmp_path / "alone.srt")
    assert (tmp_path / "alone.srt").read_bytes() == (out / "a.srt").read_bytes()

    # Once more: nothing is done again, but what is missing is done.
    (out / "b.srt").unlink()
    before = (out / "a.srt").stat().st_mtime_ns
    code, _, err = call(folder, "--recursive", "--output-dir", out, "--format", "srt")
    assert "2 was done" in err
    assert "1 done" in err
    assert (out / "a.srt").stat().st_mtime_ns == before
    call(folder, "--output-dir", out, "--format", "srt", "--overwrite")
    assert (out / "a.srt").stat().st_mtime_ns > before


def test_failed_file_does_not_stop_others(call, folder, tmp_path):
    (folder / "bad.wav").write_bytes(b"no audio at all" * 100)
    code, _, err = call(folder, "--output-dir", tmp_path / "out")
    assert code == 2
    assert "bad.wav: " in err
    assert "2 done, 1 failed" in err or "1 failed" in err
    assert (tmp_path / "out" / "a.txt").exists()
    assert not (tmp_path / "out" / "bad.txt").exists()


def test_errors_of_files_are_reported_for_each(call, folder, tmp_path):
    """Odd, empty and missing files among good ones, with and without several at a time."""
    (folder / "empty.wav").write_bytes(b"")
    (folder / "gone.wav").symlink_to(folder / "nothing.wav")
    (folder / "self.wav").symlink_to(folder / "self.wav")
    Path(os.path.join(folder, os.fsdecode(b"caf\xe9.wav"))).write_bytes(
        (folder / "a.wav").read_bytes()
    )
    for jobs in (1, 3):
        out = tmp_path / f"out{jobs}"
        code, _, err = call(
            folder, folder / "no.wav", tmp_path / "no folder", "--output-dir", out, "--jobs", jobs,
            "--format", "json",
        )  # fmt: skip
        assert code == 2
        assert "3 done, 5 failed" in " ".join(err.split())
        made = sorted(path.name for path in out.iterdir())
        assert made == sorted(["a.json", "b.json", os.fsdecode(b"caf\xe9.json")])
        for name in ("empty.wav", "gone.wav", "self.wav", "no.wav", "no folder"):
            assert sum(name in line for line in err.splitlines() if "wheatear:" in line) == 1
        assert "Traceback" not in err


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), "report it"),
        (MemoryError(), "not enough memory"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (KeyError("x"), "report it"),
        (RecursionError("too deep"), "report it"),
    ],
)
@pytest.mark.parametrize("jobs", [None, 1, 2])
def test_any_exception_is_reported_for_its_file(
    call, folder, tmp_path, monkeypatch, error, message, jobs
):
    real = FileTranscriber.run

    def run(self, audio, on_event):
        if "done" in made:
            return real(self, audio, on_event)
        made.append("done")
        raise error

    made = []
    monkeypatch.setattr(FileTranscriber, "run", run)
    files = [folder / "a.wav", folder / "b.flac"]
    options = ["--output-dir", tmp_path / "out", "--jobs", jobs] if jobs else []
    code, out, err = call(*files, *options)
    assert code == 2
    assert err.count(message) == 1
    assert "Traceback" not in err
    if jobs:
        assert len(list((tmp_path / "out").iterdir())) == 1
    else:
        assert len(out.split(f"== {folder / 'b.flac'} ==")[1]) > 10


@pytest.mark.parametrize("letter", ["a", "é", "会", "\U0001f600"])
@pytest.mark.parametrize("size", [143, 250, 255])
def test_long_names_are_transcribed(call, folder, tmp_path, letter, size):
    """A name that is as long as names can be has a transcript if that can have one."""
    letters, rest = divmod(size - len(".wav"), len(letter.encode()))
    name = letter * letters + "x" * rest
    root = tmp_path / "long"
    root.mkdir()
    (folder / "b.flac").rename(root / f"{name}.wav")
    out = tmp_path / "out"
    code, _, err = call(root, "--output-dir", out)
    assert code == 0, err
    assert [path.name for path in out.iterdir()] == [f"{name}.txt"]


def test_too_long_name_is_one_line_of_error(call, folder, tmp_path):
    root = tmp_path / "long"
    root.mkdir()
    (folder / "b.flac").rename(root / f"{'x' * 251}.au")
    (folder / "a.wav").rename(root / "a.wav")
    code, _, err = call(root, "--output-dir", tmp_path / "out", "--format", "jsonl")
    assert code == 2
    assert err.count("File name too long") == 1
    assert "1 done, 1 failed" in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.jsonl"]


def test_input_is_never_overwritten(call, folder, tmp_path):
    """Audio may be called talk.txt, and the transcript of talk.wav too."""
    (folder / "b.flac").rename(folder / "b.txt")
    before = (folder / "b.txt").read_bytes()
    code, _, err = call(folder / "b.txt", "--output-dir", folder, "--overwrite")
    assert code == 0, err
    assert (folder / "b.txt").read_bytes() == before
    assert (folder / "b.2.txt").read_text().strip()


def test_text_before_an_error_is_kept(call, folder, tmp_path):
    samples = np.tile(speech("tiny-multi"), 2)
    samples[-8000] = np.nan
    soundfile.write(folder / "c.wav", samples, 16000, subtype="FLOAT")
    out = tmp_path / "out"
    for _ in range(2):
        code, _, err = call(folder / "c.wav", folder / "a.wav", "--output-dir", out)
        assert code == 2
        kept = out / "c.txt.partial"
        assert f"the text before it is in {kept}" in err
        assert not (out / "c.txt").exists()
        assert kept.read_text().startswith((out / "a.txt").read_text()[:20])


def test_truncated_file_is_done_with_a_warning(call, folder, tmp_path):
    path = folder / "a.wav"
    path.write_bytes(path.read_bytes()[:100_044])
    code, _, err = call(folder, "--output-dir", tmp_path / "out")
    assert code == 0
    assert err.count("cut off") == 1
    assert "a.wav" in err


def test_standard_input_is_transcribed_to_the_folder(bundle_of, folder, tmp_path):
    command = [
        *RUN,
        "transcribe",
        "-",
        "--output-dir",
        str(tmp_path),
        "--model",
        str(bundle_of("tiny-multi")),
    ]
    with (folder / "a.wav").open("rb") as audio:
        subprocess.run(command, check=True, capture_output=True, stdin=audio)
    assert len((tmp_path / "stdin.txt").read_text()) > 10


def test_output_may_name_a_folder(call, folder, tmp_path):
    """With a folder as input, --output can be nothing else."""
    code, _, err = call(folder, "--output", tmp_path / "out")
    assert code == 0, err
    assert (tmp_path / "out" / "a.txt").exists()
    code, _, err = call(folder)
    assert code == 2
    assert "--output-dir FOLDER" in err


def test_invalid_options_are_refused(call, folder, tmp_path):
    for words, message in [
        (["--jobs", 0], "--jobs must be"),
        (["--rate", 8000], "a single file"),
        (["--line-letters", 2], "give 8 to 1000"),
    ]:
        code, _, err = call(folder, "--output-dir", tmp_path / "out", *words)
        assert code == 2
        assert message in err


@pytest.mark.parametrize("jobs", [None, 1, 2])
def test_error_caused_by_a_signal_is_not_reported(call, folder, tmp_path, monkeypatch, jobs):
    """Such as the process that decodes it."""

    strike = iter([True])  # once: a second signal ends the process, and the tests with it

    def run(_self, _audio, _on_event):
        if next(strike, False):
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)  # so that the main thread handles the signal
        raise AudioError("its decoder was ended (Terminated)")

    monkeypatch.setattr(FileTranscriber, "run", run)
    options = ["--output-dir", tmp_path / "out", "--jobs", jobs] if jobs else []
    code, _, err = call(folder / "a.wav", folder / "b.flac", *options)
    assert code == 143
    assert "decoder" not in err


@pytest.mark.parametrize("jobs", [1, 3])
def test_signal_stops_running_jobs_and_starts_no_other(bundle_of, tmp_path, jobs):
    root, out = tmp_path / "in", tmp_path / "out"
    root.mkdir()
    soundfile.write(root / "0.wav", np.tile(speech("tiny-multi"), 100), 16000)
    for n in range(1, 8):
        os.link(root / "0.wav", root / f"{n}.wav")
    model = ["--model", str(bundle_of("tiny-multi"))]
    command = [*RUN, "transcribe", str(root), "--output-dir", str(out), "--jobs", str(jobs), *model]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    end = time.monotonic() + 60
    while not any(path.stat().st_size for path in out.glob("*.partial")):
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    output = " ".join(err.decode().split())
    assert "Traceback" not in output
    assert "the same command continues" in output
    assert "not begun" in output
    assert not list(out.glob("7*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_kill_keeps_all_final_text(bundle_of, tmp_path, number):
    """The partial file has all final text, and the next run transcribes the file again."""
    audio, out = tmp_path / "long.wav", tmp_path / "out"
    spoken = np.concatenate([speech("tiny-multi"), np.zeros(32_000, np.float32)])
    soundfile.write(audio, np.tile(spoken, 40), 16000)
    model = ["--model", str(bundle_of("tiny-multi"))]
    command = [*RUN, "transcribe", str(tmp_path), "--output-dir", str(out), *model]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    partial, end = out / "long.txt.partial", time.monotonic() + 30
    while not partial.exists() or partial.stat().st_size < 100:
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == (130 if number == signal.SIGINT else -9)
    assert b"Traceback" not in err
    output = partial.read_text()
    assert len(output) >= 100
    assert not (out / "long.txt").exists()
    subprocess.run(command, check=True, capture_output=True)
    assert (out / "long.txt").read_text().startswith(output)
    assert not partial.exists()
    assert Path(out / "long.txt").stat().st_size > len(output)
