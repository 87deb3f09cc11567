"""`wheatear reproduce` on small corpora, with the shipped model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from wheatear.audio.reader import sample_speech
from wheatear.cli import main

TEXT = "I'm sorry, but I was unable to locate the person you are calling"


@pytest.fixture
def run(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")

    def call(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main(["reproduce", *map(str, arguments)])
        out, err = capsys.readouterr()
        return exit_.value.code, out, err

    return call


def fleurs_folder(path: Path) -> Path:
    for locale in ("en_us", "de_de", "xh_za"):
        folder = path / "fleurs" / locale
        (folder / "test").mkdir(parents=True)
        (folder / "test.tsv").write_text(
            "".join(f"{n}\t{n}.wav\t{TEXT}.\tx\tx\t1\tMALE\n" for n in range(2))
        )
        for n in range(2):
            soundfile.write(folder / "test" / f"{n}.wav", sample_speech(), 16_000)
    return path / "fleurs"


def test_fleurs_is_measured_and_compared(run, tmp_path):
    out = tmp_path / "out"
    code, out_text, err = run(
        "fleurs", fleurs_folder(tmp_path), "--output", out, "--latency", 80, 1120, "--threads", 1
    )
    assert code == 0
    assert "xh-ZA" not in err  # not in the table
    data = json.loads((out / "comparison.json").read_text())
    assert [(d["published"]["latency_ms"], d["published"]["prompt"]) for d in data] == [
        (latency, prompt) for latency in (80, 1120) for prompt in ("given", "auto") for _ in "rb"
    ]
    rows = json.loads((out / "summary.json").read_text())["rows"]
    ready = next(d for d in data if d["published"]["source"].endswith("transcription-ready"))
    measured = {
        row["locale"]: row["error_rate"]["value"]
        for row in rows
        if (row["latency_ms"], row["prompt"]) == (80, "given")
    }
    assert ready["rates"]["en"]["value"] == measured["en-US"]
    assert ready["rates"]["de"]["value"] == measured["de-DE"]
    assert ready["rates"]["fr"] is None
    theirs, ours, count = ready["means"]
    assert (theirs, count) == (pytest.approx((9.43 + 9.81) / 2), 2)
    assert ours == pytest.approx((measured["en-US"] + measured["de-DE"]) / 2)
    text = (out / "comparison.md").read_text()
    assert f"| en | 9.43 | {measured['en-US']:.2f} (" in text
    assert f"{measured['en-US'] - 9.43:+.2f} outside" in text
    assert "2 of 15" in out_text
    assert "0 of 13" in out_text
    assert (out / "report.html").exists()
    before = (out / "utterances.jsonl").read_text()
    assert (
        run("fleurs", tmp_path / "fleurs", "--output", out, "--latency", 80, 1120, "--threads", 1)[
            0
        ]
        == 0
    )
    assert (out / "utterances.jsonl").read_text() == before


def test_english_is_measured_and_compared(run, tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    for name in ("ami", "tedlium"):
        (data / name).mkdir(parents=True)
        soundfile.write(data / name / "a.wav", sample_speech(), 16_000)
        texts = [TEXT, "ignore_time_segment_in_scoring", "uh", TEXT]
        lines = [{"audio_filepath": "a.wav", "text": text} for text in texts]
        (data / name / "test.jsonl").write_text("\n".join(map(json.dumps, lines)))
    code, out_text, _ = run("english", data, "--output", out, "--threads", 1, "--latency", 560)
    assert code == 0
    found = json.loads((out / "comparison.json").read_text())
    sources = [one["published"]["source"] for one in found]
    assert "arXiv 2604.14493, int8 k-quant" in sources  # the model's own precision
    assert not any("int4" in source or "FP32" in source for source in sources)
    rows = {row["group"]: row for row in json.loads((out / "summary.json").read_text())["rows"]}
    assert {name: row["utterances"] for name, row in rows.items()} == {"ami": 2, "tedlium": 2}
    for one in found:
        assert one["rates"]["ami"]["value"] == rows["ami"]["error_rate"]["value"]
        assert one["rates"]["gigaspeech"] is None
    assert "2 of 8" in out_text
    run("english", data, "--output", tmp_path / "few", "--latency", 560, "--limit", 1)
    few = json.loads((tmp_path / "few" / "summary.json").read_text())["rows"]
    assert [row["utterances"] for row in few] == [1, 1]


def test_invalid_data_is_an_error(run, tmp_path):
    out = ("--output", tmp_path / "out")
    code, _, err = run("fleurs", fleurs_folder(tmp_path), *out, "--latency", 240)
    assert (code, "no 240 ms in both the table and the models" in err) == (2, True)
    (tmp_path / "empty").mkdir()
    code, _, err = run("english", tmp_path / "empty", *out)
    assert (code, "none of the table's sets" in err) == (2, True)
    other = fleurs_folder(tmp_path / "other") / "xh_za"
    code, _, err = run("fleurs", other, *out)
    assert (code, "none of the table's languages" in err) == (2, True)
