"""faster-whisper, by a package in its place."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from fake_engines import tone
from package_stubs import stub_package

from wheatear.evaluate.engines.engine import Hypothesis
from wheatear.evaluate.engines.registry import open_engine


def test_parts_of_a_package_are_joined(tmp_path, monkeypatch):
    calls: list[tuple] = []

    class WhisperModel:
        supported_languages = ("en", "de", "no")
        model = SimpleNamespace(is_multilingual=True)

        def __init__(self, where, **options):
            self.files = {f.name: f.read_bytes() for f in Path(where).iterdir()}
            calls.append((self.files, options))

        def transcribe(self, samples, language):
            calls.append((len(samples), language))
            segments = [SimpleNamespace(text=" One."), SimpleNamespace(text=" Two.")]
            return iter(segments), SimpleNamespace(language=language or "de")

    stub_package(monkeypatch, "faster_whisper", "whisper", WhisperModel=WhisperModel)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1")
    monkeypatch.syspath_prepend(tmp_path)
    for number, content in ((1, b"first "), (2, b"second")):
        part = tmp_path / f"a_whisper_part{number}" / "data"
        part.mkdir(parents=True)
        (part.parent / "__init__.py").touch()
        (part / f"model.bin.part{number}").write_bytes(content)
    (tmp_path / "a_whisper_part1" / "data" / "config.json").write_text("{}")
    engine = open_engine("faster-whisper:a-whisper", 3)
    files, options = calls[0]
    assert files == {"model.bin": b"first second", "config.json": b"{}"}
    assert (options["cpu_threads"], options["device"]) == (3, "cpu")
    assert (engine.name, engine.info.size) == ("faster-whisper a-whisper", 12)
    assert [engine.language_for(x) for x in ("en-GB", "nb-NO", "ja-JP")] == ["en", "no", None]
    assert engine.transcribe(tone(5), "en") == Hypothesis("One. Two.")
    assert engine.transcribe(tone(5), None) == Hypothesis("One. Two.", "de")
    assert calls[1:] == [(8000, "en"), (8000, None)]
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "model.bin").write_bytes(b"123")
    assert open_engine(f"faster-whisper:{whole}", 1).info.size == 3
