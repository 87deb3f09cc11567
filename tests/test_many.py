"""Folders and many files: each done once, whatever happened in between."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from checkpoints import speech

from wheatear.cli import main
from wheatear.cli.many import jobs_of
from wheatear.errors import AudioError

RUN = [sys.executable, "-m", "wheatear", "transcribe"]


@pytest.fixture
def folder(tmp_path):
    """Three recordings, one of them deeper, one that is no audio, and something else."""
    root = tmp_path / "in"
    (root / "sub").mkdir(parents=True)
    samples = speech("tiny-multi")
    for name, part in {"a.wav": samples, "b.flac": samples[:60_000], "sub/a.wav": samples}.items():
        soundfile.write(root / name, part, 16000)
    (root / "notes.txt").write_text("not audio")
    return root


@pytest.fixture
def call(capsys, monkeypatch, bundle_of):
    monkeypatch.setenv("COLUMNS", "140")

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["transcribe", *map(str, arguments), "--model", str(bundle_of("tiny-multi"))])
        return ended.value.code, *capsys.readouterr()

    return run


def test_a_folder_becomes_a_folder(call, folder, tmp_path):
    out = tmp_path / "out"
    code, _, err = call(folder, "--recursive", "--jobs", 2, "--output", out, "--format", "srt")
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
    code, _, err = call(folder, "--recursive", "--output", out, "--format", "srt")
    assert "2 was done" in err
    assert "1 done" in err
    assert (out / "a.srt").stat().st_mtime_ns == before
    call(folder, "--output", out, "--format", "srt", "--overwrite")
    assert (out / "a.srt").stat().st_mtime_ns > before


def test_one_bad_file_stops_no_other(call, folder, tmp_path):
    (folder / "bad.wav").write_bytes(b"no audio at all" * 100)
    code, _, err = call(folder, "--output", tmp_path / "out")
    assert code == 2
    assert "bad.wav: " in err
    assert "2 done, 1 failed" in err or "1 failed" in err
    assert (tmp_path / "out" / "a.txt").exists()
    assert not (tmp_path / "out" / "bad.txt").exists()


def test_names_do_not_collide(folder, tmp_path):
    soundfile.write(folder / "b.wav", np.zeros(100), 16000)
    twin = tmp_path / "b.wav"
    soundfile.write(twin, np.zeros(100), 16000)
    out = tmp_path / "out"
    jobs = jobs_of([str(folder), str(twin), str(folder / "a.wav")], out, "verbose_json", True)
    names = [str(job.target.relative_to(out)) for job in jobs]
    assert names == ["a.json", "b.flac.json", "b.wav.json", "sub/a.json", "b.wav.2.json"]


def test_what_is_missing_is_named(folder, tmp_path):
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    for inputs, output, says in [
        ([folder], None, "--output FOLDER"),
        ([folder / "no.wav"], tmp_path, "no.wav"),
        ([tmp_path / "empty"], tmp_path, "--recursive"),
        ([folder], folder / "notes.txt", "--output FOLDER"),
    ]:
        with pytest.raises(AudioError, match=says):
            jobs_of([str(i) for i in inputs], output, "txt", False)


def test_bad_options(call, folder, tmp_path):
    for words, says in [
        (["--jobs", 0], "--jobs must be"),
        (["--rate", 8000], "one file at a"),
        (["--line-letters", 2], "subtitles need"),
    ]:
        code, _, err = call(folder, "--output", tmp_path / "out", *words)
        assert code == 2
        assert says in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_kill_loses_nothing_that_was_final(bundle_of, tmp_path, number):
    """What is final is in the partial file, and the next run does the file anew."""
    audio, out = tmp_path / "long.wav", tmp_path / "out"
    spoken = np.concatenate([speech("tiny-multi"), np.zeros(32_000, np.float32)])
    soundfile.write(audio, np.tile(spoken, 40), 16000)
    command = [*RUN, str(tmp_path), "--output", str(out), "--model", str(bundle_of("tiny-multi"))]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    partial, end = out / "long.txt.partial", time.monotonic() + 30
    while not partial.exists() or partial.stat().st_size < 100:
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == (130 if number == signal.SIGINT else -9)
    assert b"Traceback" not in err
    said = partial.read_text()
    assert len(said) >= 100
    assert not (out / "long.txt").exists()
    subprocess.run(command, check=True, capture_output=True)
    assert (out / "long.txt").read_text().startswith(said)
    assert not partial.exists()
    assert Path(out / "long.txt").stat().st_size > len(said)
