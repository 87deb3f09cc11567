"""Fixtures of the command line tests: recordings, a made-up clock, bundles, the command."""

import checkpoints
import pytest
import soundfile
from command_line import lines_of
from evaluation_runs import clock, corpus, speech
from random_bundles import models, random_models, tiny

from wheatear.cli import main

__all__ = ["clock", "corpus", "models", "random_models", "speech", "tiny"]


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "speech.wav"
    soundfile.write(path, checkpoints.speech("tiny-multi"), 16000)
    return path


@pytest.fixture
def model(bundle_of):
    return str(bundle_of("tiny-multi"))


@pytest.fixture
def expected(recognizer_of):
    return recognizer_of("tiny-multi").transcribe(checkpoints.speech("tiny-multi"))


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


@pytest.fixture
def folder(tmp_path):
    """Three recordings, one of them in a subfolder, and a file that is not audio."""
    root = tmp_path / "in"
    (root / "sub").mkdir(parents=True)
    samples = checkpoints.speech("tiny-multi")
    for name, part in {"a.wav": samples, "b.flac": samples[:60_000], "sub/a.wav": samples}.items():
        soundfile.write(root / name, part, 16000)
    (root / "notes.txt").write_text("not audio")
    return root
