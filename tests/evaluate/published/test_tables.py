"""Published tables are made again: on made data by the model that comes with Wheatear, which knows
next to nothing of it, but the tables come out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from wheatear.audio.reader import sample_speech
from wheatear.cli import main
from wheatear.evaluate.published.tables import compare, english, fleurs
from wheatear.model.locales import LOCALES

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


@pytest.mark.parametrize("table", [fleurs(), english()], ids=lambda table: table.name)
def test_published_figures_fit_together(table):
    """Each mean is the mean of its row, to the rounding of what was printed."""
    for row in table.rows:
        values = list(row.rates.values())
        assert row.mean == pytest.approx(sum(values) / len(values), abs=0.011)
    keys = {(row.source, row.latency_ms, row.prompt) for row in table.rows}
    assert len(keys) == len(table.rows)


def test_the_tables_are_whole():
    rows = fleurs().rows
    assert len(rows) == 2 * 2 * 5
    tiers = {locale.language: locale.tier for locale in LOCALES}
    for row in rows:
        tier = row.source.rpartition(", ")[2]
        assert len(row.rates) == (15 if tier == "transcription-ready" else 13)
        assert {tiers[language] for language in row.rates} == {tier}
    # A longer latency is never much worse, and telling the language never helps much.
    rates = {(r.latency_ms, r.prompt, language): v for r in rows for language, v in r.rates.items()}
    for (latency, prompt, language), value in rates.items():
        assert rates[1120, prompt, language] <= value + 0.05
        assert rates[latency, "auto", language] >= rates[latency, "given", language] - 0.15
    assert fleurs().latencies == (80, 160, 320, 560, 1120)
    assert english().latencies == (80, 160, 560, 1120)
    assert {len(row.rates) for row in english().rows} == {8}


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


def test_fleurs_made_again(run, tmp_path):
    out = tmp_path / "out"
    code, told, err = run(
        "fleurs", fleurs_folder(tmp_path), "--output", out, "--latency", 80, 1120, "--threads", 1
    )
    assert code == 0
    assert "xh-ZA" not in err  # none of the table's: not even tried
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
    assert "2 of 15" in told
    assert "0 of 13" in told
    assert (out / "report.html").exists()
    before = (out / "utterances.jsonl").read_text()
    assert (
        run("fleurs", tmp_path / "fleurs", "--output", out, "--latency", 80, 1120, "--threads", 1)[
            0
        ]
        == 0
    )
    assert (out / "utterances.jsonl").read_text() == before


def test_english_made_again(run, tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    for name in ("ami", "tedlium"):
        (data / name).mkdir(parents=True)
        soundfile.write(data / name / "a.wav", sample_speech(), 16_000)
        texts = [TEXT, "ignore_time_segment_in_scoring", "uh", TEXT]
        lines = [{"audio_filepath": "a.wav", "text": text} for text in texts]
        (data / name / "test.jsonl").write_text("\n".join(map(json.dumps, lines)))
    code, told, _ = run("english", data, "--output", out, "--threads", 1, "--latency", 560)
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
    assert "2 of 8" in told
    run("english", data, "--output", tmp_path / "few", "--latency", 560, "--limit", 1)
    few = json.loads((tmp_path / "few" / "summary.json").read_text())["rows"]
    assert [row["utterances"] for row in few] == [1, 1]


def test_what_cannot_be_made(run, tmp_path):
    out = ("--output", tmp_path / "out")
    code, _, err = run("fleurs", fleurs_folder(tmp_path), *out, "--latency", 240)
    assert (code, "no 240 ms in both the table and the models" in err) == (2, True)
    (tmp_path / "empty").mkdir()
    code, _, err = run("english", tmp_path / "empty", *out)
    assert (code, "none of the table's sets" in err) == (2, True)
    other = fleurs_folder(tmp_path / "other") / "xh_za"
    code, _, err = run("fleurs", other, *out)
    assert (code, "none of the table's languages" in err) == (2, True)


def test_every_bundle_is_compared():
    rows = [
        {"system": name, "precision": precision, "latency_ms": 560, "prompt": "given",
         "group": "ami", "locale": "en-US", "error_rate": {"value": 10.0, "low": 9.0, "high": 11.0}}
        for name, precision in (("a", "fp32"), ("b", "int4"))
    ]  # fmt: skip
    found = compare(english(), {"rows": rows})
    by = {name: [c.published.source for c in found if c.system == name] for name in "ab"}
    assert sum("ONNX FP32" in source for source in by["a"]) == 1
    assert sum("int4" in source for source in by["a"]) == 0
    assert sum("int4" in source for source in by["b"]) == 3
