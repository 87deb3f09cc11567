"""`wheatear evaluate` on the shipped model."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import soundfile
from fake_engines import TEXTS, FakeEngine

from wheatear.audio.reader import sample_speech
from wheatear.cli import extras, main
from wheatear.convert.verify import edit_distance
from wheatear.evaluate import normalize


@pytest.fixture
def run(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")

    def call(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main(["evaluate", *map(str, arguments)])
        out, err = capsys.readouterr()
        return exit_.value.code, out, err

    return call


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def test_every_precision_latency_and_mode_has_a_row(run, speech, tmp_path, bundle_of):
    out, other = tmp_path / "out", bundle_of("tiny-multi")
    code, printed, err = run(
        speech, "--output", out, "--model", "wheatear-small", other, "--latency", 80, 1120,
        "--mode", "whole", "stream", "--turns", 1, "--threads", 1,
    )  # fmt: skip
    assert code == 0
    counts = "2 recordings, 5 more of silence and noise"
    assert f"wheatear-small int8: stream 80 ms, language given: {counts}" in err
    assert "streaming" in printed
    assert str(out / "report.html") in printed
    found = summary(out)
    assert [(s["system"], s["precision"], s["latency_ms"]) for s in found["systems"]] == [
        ("wheatear-small", "int8", 80), ("wheatear-small", "int8", 1120),
        (other.name, "fp32", 80), (other.name, "fp32", 1120),
    ]  # fmt: skip
    rows = {(r["system"], r["mode"], r["latency_ms"], r["prompt"]): r for r in found["rows"]}
    assert len(rows) == 2 * 2 * 2 * 2
    for prompt in ("given", "auto"):
        whole, stream = (rows["wheatear-small", m, 80, prompt] for m in ("whole", "stream"))
        assert whole["error_rate"] == stream["error_rate"]  # streaming is exact
        assert whole["turn_ms"] is whole["first_ms"] is None
        assert stream["turn_ms"]["count"] == 1
        assert stream["first_ms"]["count"] == 2
    assert rows["wheatear-small", "whole", 80, "auto"]["language_right"]["value"] == 100
    compared = {
        (d["system"], d["against"], d["mode"], d["latency_ms"]) for d in found["differences"]
    }
    assert (other.name, "wheatear-small", "stream", 1120) in compared
    assert {n["hypothesis"] for n in found["noise"] if n["system"] == "wheatear-small"} == {""}
    for line in (out / "utterances.jsonl").read_text().splitlines():
        one = json.loads(line)
        if one["group"]:
            continue
        reference, hypothesis = (
            normalize(one[key], "en-US") for key in ("reference", "hypothesis")
        )
        assert (reference, hypothesis) == (one["normal_reference"], one["normal_hypothesis"])
        assert one["errors"] == edit_distance(reference.split(), hypothesis.split())
    assert "wheatear-small" in (out / "report.md").read_text()
    assert "<svg" in (out / "report.html").read_text()


def test_run_is_compared_with_an_earlier_one(run, speech, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    options = ("--prompt", "given", "--mode", "whole", "--limit", 1)
    run(speech, "--output", one, *options, "--latency", 80)
    code, _, _ = run(
        speech, "--output", two, *options, "--latency", 80, "--beam", 4, "--against", one
    )
    assert code == 0
    row = summary(two)["against"][0]
    assert (row["system"], row["against"]) == ("wheatear-small, beam 4", "wheatear-small")
    assert "Differences from before" in (two / "report.md").read_text()
    code, _, err = run(
        speech, "--output", tmp_path / "x", *options, "--latency", 1120, "--against", one
    )
    assert code == 2
    assert "nothing in common" in err
    code, _, err = run(speech, "--output", tmp_path / "y", *options, "--against", tmp_path)
    assert code == 2
    assert "holds no evaluation" in err


def test_other_engine_is_measured(run, corpus, clock, tmp_path, monkeypatch):
    module = type(sys)("my_engine")
    module.make = lambda: FakeEngine(clock, TEXTS)
    monkeypatch.setitem(sys.modules, "my_engine", module)
    code, printed, err = run(
        corpus, "--output", tmp_path / "out", "--engine", "python:my_engine:make",
        "--prompt", "given", "--mode", "whole", "stream", "--only", "en-US", "--turns", 0,
    )  # fmt: skip
    assert code == 0
    assert "fake" in printed
    assert "thirteen brings bad luck" in err
    assert "1 of 3 recordings failed, see the report" in err
    assert {r["locale"] for r in summary(tmp_path / "out")["rows"]} == {"en-US"}
    code, _, err = run(corpus, "--output", tmp_path / "all", "--prompt", "given", "--turns", 0)
    assert code == 0
    assert "has no language for these recordings, left out: xx-XX (1)" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "{out}", "--latency", "100"], "no 100 ms mode"),
        (["--output", "{out}", "--model", "unknown"], "no model 'unknown'"),
        (["--output", "{out}", "--limit", "0"], "--limit is 0"),
        (["--output", "{out}", "--pieces", "0"], "--pieces from 0.1"),
        (["--output", "{out}", "--only", "ja-JP"], "no clips of ja-jp; there are of en-US"),
        (["--output", "{out}", "--engine", "what"], "is no engine"),
        ([], "output"),
    ],
)
def test_invalid_option_is_one_line_of_error(run, speech, tmp_path, arguments, message):
    code, _, err = run(speech, *(a.format(out=tmp_path / "out") for a in arguments))
    assert code == 2
    assert message in err.splitlines()[-1]


def broken(folder: Path, count: int, name: str = "gone{}.wav") -> Path:
    lines = [{"audio_filepath": name.format(n), "text": "a", "lang": "en-US"} for n in range(count)]
    path = folder / "broken.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.mark.parametrize("name", ["gone{}.wav", "text.wav"])
def test_exit_code_if_every_recording_fails(run, tmp_path, name):
    """Noise is not a recording."""
    (tmp_path / "text.wav").write_text("no audio")
    manifest = broken(tmp_path, 3, name)
    code, printed, err = run(manifest, "--output", tmp_path / "out", "--threads", 1)
    assert code == 2
    assert "3 recordings" in printed
    assert err.splitlines()[-1].startswith("wheatear: nothing could be transcribed: cannot ")


def test_exit_code_if_a_system_transcribes_none(run, speech, clock, tmp_path, monkeypatch):
    class Broken(FakeEngine):
        def transcribe(self, samples, locale):
            raise RuntimeError("out of order")

    module = type(sys)("my_engine")
    module.make = lambda: Broken(clock, TEXTS)
    monkeypatch.setitem(sys.modules, "my_engine", module)
    code, _, err = run(
        speech, "--output", tmp_path / "out", "--model", "wheatear-small", "--prompt", "given",
        "--engine", "python:my_engine:make", "--mode", "whole",
    )  # fmt: skip
    assert code == 2
    assert err.splitlines()[-1] == "wheatear: fake transcribed no recording"
    assert (tmp_path / "out" / "report.html").exists()


def test_recordings_are_counted_without_noise(run, tmp_path, clock, monkeypatch):
    monkeypatch.setitem(sys.modules, "my_engine", module := type(sys)("my_engine"))
    module.make = lambda: FakeEngine(clock, {})
    samples = sample_speech()[:8_000]
    names = [f"{n}.wav" for n in range(30)]
    for name in names:
        soundfile.write(tmp_path / name, samples, 16_000)
    lines = [{"audio_filepath": name, "text": "a", "lang": "en-US"} for name in names]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    _, printed, err = run(
        tmp_path / "m.jsonl", "--output", tmp_path / "out", "--model", "wheatear-small",
        "--mode", "whole", "--prompt", "given", "--engine", "python:my_engine:make",
    )  # fmt: skip
    assert "30 recordings" in printed
    assert "language given: 30 recordings, 5 more of silence and noise" in err
    assert "35 recordings" not in printed + err


def test_file_names_that_are_not_utf_8(run, tmp_path):
    """They are written as escapes, and found again by a second run."""
    folder = tmp_path / "en-US"
    folder.mkdir()
    name = b"caf\xe9"
    for suffix, data in ((b".wav", None), (b".txt", b"I'm sorry")):
        path = os.fsencode(folder) + b"/" + name + suffix
        if data is None:
            soundfile.write(folder / "a.wav", sample_speech()[:16_000], 16_000)
            os.rename(folder / "a.wav", path)
        else:
            Path(os.fsdecode(path)).write_bytes(data)
    options = ("--output", tmp_path / "out", "--mode", "whole", "--prompt", "given")
    for _ in range(2):
        code, _, err = run(folder, *options, "--threads", 1)
        assert (code, "failed" in err) == (0, False)
    rows = (tmp_path / "out" / "utterances.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 6


def test_missing_package_is_named(run, speech, tmp_path, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    code, _, err = run(speech, "--output", tmp_path)
    assert code == 2
    assert "pip install 'wheatear[evaluate]'" in err


def test_recordings_without_a_text_are_counted(run, speech, tmp_path):
    folder = tmp_path / "en-US"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.wav").write_bytes((tmp_path / f"{name}.wav").read_bytes())
    (folder / "a.txt").write_text("I'm sorry, but I was unable to locate the person")
    code, printed, _ = run(
        folder, "--output", tmp_path / "out", "--mode", "whole", "--prompt", "given",
    )  # fmt: skip
    assert code == 0
    assert "1 more have no text" in printed
