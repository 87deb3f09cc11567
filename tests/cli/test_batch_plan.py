"""Plan of a batch: audio files of folders, and the paths of their transcripts."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wheatear.cli.batch_plan import plan_batch
from wheatear.errors import AudioError


def test_transcripts_get_distinct_names(folder, tmp_path):
    soundfile.write(folder / "b.wav", np.zeros(100), 16000)
    twin = tmp_path / "b.wav"
    soundfile.write(twin, np.zeros(100), 16000)
    out = tmp_path / "out"
    jobs = plan_batch([str(folder), str(twin), str(folder / "a.wav")], out, "verbose_json", True)
    names = [str(job.target.relative_to(out)) for job in jobs]
    assert names == ["a.json", "b.flac.json", "b.wav.json", "sub/a.json", "b.wav.2.json"]


def test_folder_without_audio_and_file_as_output_are_refused(folder, tmp_path):
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    for inputs, output, message in [
        ([tmp_path / "empty"], tmp_path, "--recursive"),
        ([folder], folder / "notes.txt", "--output-dir FOLDER"),
    ]:
        with pytest.raises(AudioError, match=message):
            plan_batch([str(i) for i in inputs], output, "txt", False)


def listed(*inputs, recursive=True):
    """Names of what would be transcribed, and the faults."""
    jobs = plan_batch([str(i) for i in inputs], Path("out"), "txt", recursive)
    names = [os.path.basename(job.audio) for job in jobs if not job.fault]
    return names, [job.fault for job in jobs if job.fault]


def test_hidden_files_are_left_out(folder):
    for name in ("._a.wav", ".DS_Store", "Thumbs.db", ".hidden.wav", "sub/._a.wav"):
        (folder / name).write_bytes(b"\0\5\x16\7")
    (folder / ".trash").mkdir()
    (folder / ".trash" / "old.wav").write_bytes(b"")
    assert listed(folder) == (["a.wav", "b.flac", "a.wav"], [])
    assert listed(folder / "._a.wav") == (["._a.wav"], [])  # what is named is tried


def test_pipes_loops_and_folders_named_like_audio_are_left_out(folder):
    os.mkfifo(folder / "pipe.wav")
    (folder / "folder.wav").mkdir()
    (folder / "sub" / "loop").symlink_to(folder)
    (folder / "again").symlink_to(folder / "sub")
    (folder / "self.wav").symlink_to(folder / "self.wav")
    (folder / "gone.wav").symlink_to(folder / "nothing.wav")
    names, faults = listed(folder)
    assert faults == []
    assert sorted(names) == ["a.wav", "a.wav", "b.flac", "gone.wav", "self.wav"]
    targets = {str(job.target) for job in plan_batch([str(folder)], Path("out"), "txt", True)}
    assert "out/sub/a.txt" in targets


def test_unreadable_folder_is_named_and_does_not_stop_others(folder, monkeypatch):
    real = os.scandir

    def refuse(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    names, (fault,) = listed(folder)
    assert names == ["a.wav", "b.flac"]
    assert fault == f"cannot read the folder {folder / 'sub'}: Permission denied"
    with pytest.raises(AudioError, match="Permission denied"):
        listed(folder / "sub")
