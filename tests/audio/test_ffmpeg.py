"""FFmpeg's process: how it starts, fails and ends."""

import errno
import io
import os
import random
import subprocess
import sys
import threading
import time
import warnings
from contextlib import closing

import numpy as np
import pytest
from audio_files import (
    read,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from media_files import made

import wheatear
from wheatear.audio import ffmpeg
from wheatear.audio.reader import AudioLimits, open_audio
from wheatear.cli import main
from wheatear.errors import (
    AudioError,
    AudioTruncatedWarning,
    LanguageError,
    OverloadedError,
)


def test_separate_channels_of_a_container():
    np.testing.assert_array_equal(
        read(io.BytesIO(made("mp4", "aac")), separate_channels=True)[:, 0],
        read(io.BytesIO(made("mp4", "aac"))),
    )


def test_command_reads_films_and_pipes(tmp_path, capsys):
    path = tmp_path / "film.mp4"
    path.write_bytes(made("mp4", "aac", video=True))
    with pytest.raises(SystemExit) as ended:
        main(["transcribe", str(path)])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "calling" in text
    command = [sys.executable, "-m", "wheatear", "transcribe", "-"]
    piped = subprocess.run(command, input=path.read_bytes(), capture_output=True, check=True)
    assert piped.stdout.decode() == text


SEEDS = [
    *(("mp4", "aac", 16000), ("webm", "libopus", 48000), ("adts", "aac", 16000)),
    *(("mpegts", "aac", 48000), ("avi", "libmp3lame", 48000), ("caf", "alac", 16000)),
]


@settings(max_examples=30, deadline=None)
@given(seed=st.sampled_from(SEEDS), chance=st.integers(0, 2**32), head=st.booleans())
def test_damaged_container_is_read_or_rejected(seed, chance, head):
    """Any change gives samples, warnings or an AudioError, and ends."""
    data, rng = bytearray(made(*seed)), random.Random(chance)
    for _ in range(rng.choice([1, 5, 50])):
        at = rng.randrange(1000 if head else len(data))
        data[at : at + rng.choice([1, 4, 90])] = rng.randbytes(rng.choice([0, 1, 4, 90]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AudioTruncatedWarning)
        try:
            samples = read(io.BytesIO(data), limits=AudioLimits(60))
        except AudioError:
            return
    assert np.abs(samples).max(initial=0) < 100


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Returns a function that replaces the worker."""

    def write(text):
        path = tmp_path / "program.py"
        path.write_text(text)
        monkeypatch.setattr(ffmpeg, "WORKER", path)

    return write


HEADER = '{"rate": 16000, "channels": 1, "duration": null}'


def test_dead_worker_is_an_error(program):
    program("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(AudioError, match=r"the audio cannot be decoded: .* ended \(Killed\)"):
        open_audio(io.BytesIO(made("mp4", "aac")))
    program(f"import os\nprint('{HEADER}', flush=True)\nprint(7 / 0)")
    with pytest.raises(AudioError, match="ZeroDivisionError"):
        read(io.BytesIO(made("mp4", "aac")))


def test_worker_beyond_its_cpu_time_is_ended(program):
    path = ffmpeg.__file__.replace("ffmpeg.py", "")
    program(
        f"import sys; sys.path.append({path!r}); import ffmpeg_worker\n"
        "ffmpeg_worker.CPU_SECONDS = 1\n"
        "ffmpeg_worker.decode = lambda *_: [None for _ in iter(int, 1)]\n"
        "ffmpeg_worker.main()"
    )
    with pytest.raises(AudioError, match="CPU time"):
        open_audio(io.BytesIO(made("mp4", "aac")))


def test_close_ends_a_hanging_worker(program):
    program(f"import time\nprint('{HEADER}', flush=True)\ntime.sleep(600)")
    reader = open_audio(io.BytesIO(made("mp4", "aac")))
    faults = []

    def listen():
        try:
            list(reader)
        except AudioError as error:
            faults.append(error)

    thread = threading.Thread(target=listen)
    thread.start()
    time.sleep(0.2)  # so that it waits; the test holds without it, too
    reader.close()
    thread.join(30)
    assert not thread.is_alive()
    assert len(faults) == 1


def test_no_worker_is_left(monkeypatch):
    """Neither after an early close nor after an error before the first block."""
    started = []

    class Watched(subprocess.Popen):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Watched)
    with closing(open_audio(io.BytesIO(made("mp4", "aac")))) as reader:
        next(iter(reader))
    with pytest.raises(LanguageError):
        wheatear.load().transcribe(io.BytesIO(made("mp4", "aac")), language="xx")
    assert [process.returncode is not None for process in started] == [True, True]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM])
def test_exhausted_system_is_an_overload(monkeypatch, tmp_path, number):
    def none_left(*arguments, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(ffmpeg.subprocess, "Popen", none_left)
    file = tmp_path / "a.m4a"
    file.write_bytes(b"\0\0\0\x18ftypM4A " + bytes(100))
    with pytest.raises(OverloadedError, match="ulimit"):
        list(open_audio(file))
