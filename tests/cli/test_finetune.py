"""The command finetune on manifests of tones."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from training_runs import ORACLE

import wheatear
from wheatear.cli import main
from wheatear.train.run import loop
from wheatear.train.run.config import TrainConfig


def tones(folder: Path, count: int) -> Path:
    """Writes a manifest of wav and flac files at other rates: Dutch words as tones."""
    lines = []
    words = ["een", "twee", "drie", "vier", "vijf", "zes"]
    for i in range(count):
        spoken = [words[(i * k + k) % 6] for k in range(1, 4)]
        rate = (8000, 22050)[i % 2]
        time = np.arange(rate // 3) / rate
        clip = np.concatenate(
            [0.3 * np.sin(math.tau * (200 + 90 * words.index(word)) * time) for word in spoken]
        )
        name = f"{i}.{'wav' if i % 3 else 'flac'}"
        sf.write(folder / name, np.stack([clip, clip], 1) if i % 5 == 0 else clip, rate)
        text = " ".join(spoken).capitalize() + "."
        lines.append(json.dumps({"audio_filepath": name, "text": text}))
    manifest = folder / "mine.jsonl"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def command(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_new_locale_is_trained_from_a_small_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new locale for a checkpoint of NVIDIA's form, from a manifest with a bad line in it."""
    monkeypatch.chdir(tmp_path)
    manifest = tones(tmp_path, 24)
    start = ORACLE / "tiny-multi.nemo"
    options = ["--device", "cpu", "--steps", 4, "--locale", "nl-NL", "--threads", 1]
    options += ["--latencies", 80, 1120]
    code, out, err = command(capsys, "finetune", start, manifest, *options)
    assert code == 0, err
    folder = tmp_path / "tiny-multi-finetuned"
    assert "wheatear convert" in out
    report = json.loads((folder / "report.json").read_text())
    assert report["checks"][0]["step"] == 0
    assert report["locales"] == ["nl-NL"]
    assert report["steps"] == 4
    made = folder / "tiny-multi-finetuned.safetensors"
    code, out, err = command(capsys, "convert", made, folder / "bundle", "--precision", "fp32")
    assert code == 0, err
    assert "nl-NL" in wheatear.load(folder / "bundle").languages

    # The run is resumed, but not with other options.
    plan = TrainConfig.read(folder / "plan.json")
    assert plan.stages[0].lookaheads == (0, 13)
    assert plan.check_latencies == (80, 1120)
    options[3] = 6
    code, _, err = command(capsys, "finetune", start, manifest, *options)
    assert code == 0
    assert "resuming at step 4" in err
    code, _, err = command(capsys, "finetune", start, manifest, *options, "--lora", 2)
    assert code == 2
    assert "holds a run with other options" in err

    with manifest.open("a") as file:
        file.write('{"audio_filepath": "gone.wav", "text": "Weg."}\n')
    options += ["--output", tmp_path / "other"]
    code, _, err = command(capsys, "finetune", start, manifest, *options)
    assert code == 2
    assert "mine.jsonl, line 25" in err
    assert "Traceback" not in err
    code, _, err = command(
        capsys, "finetune", start, manifest, *options[:-1], tmp_path / "third",
        "--bad-lines", "skip", "--rehearse", manifest, "--rehearse-share", 0.25,
    )  # fmt: skip
    assert code == 0, err
    assert "skipped" in err
    assert "line 25" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--minutes", 1, "--steps", 2], "--minutes or --steps, not both"),
        (["--latencies", 100], "--latencies has 100"),
        (["--rehearse-share", 1], "--rehearse-share is 1"),
        (["--rate", 0], "rate must be above zero"),
        (["--lora", 4000, "--steps", 1], "lora is 4000"),
        (["--processes", 0], "--processes is 0"),
        (["--steps", -1], "minutes or steps"),
        (["--validation", "none.jsonl"], "none.jsonl"),
        (["--max-seconds", 0.1], "longer than 0.1 s"),
    ],
)
def test_bad_option_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[object], message: str
) -> None:
    manifest = tones(tmp_path, 6)
    start = ORACLE / "tiny-multi.nemo"
    common = ["--locale", "nl-NL", "--output", tmp_path / "out", "--device", "cpu"]
    code, _, err = command(capsys, "finetune", start, manifest, *common, *words)
    assert code == 2
    assert message in err
    assert err.count("\n") <= 3


@pytest.mark.parametrize("wer", [[50.0, 60.0, 60.0], [50.0, 60.0, 40.0]])
def test_run_without_improvement_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    wer: list[float],
) -> None:  # fmt: skip
    left = iter(wer)
    row = {"locale": "nl-NL", "latency_ms": 80, "clips": 1, "words": 9, "cer": 20.0}
    monkeypatch.setattr(loop, "validate", lambda *_: [row | {"wer": next(left)}])
    code, out, err = command(
        capsys, "finetune", ORACLE / "tiny-multi.nemo", tones(tmp_path, 6), "--steps", 2,
        "--locale", "nl-NL", "--output", tmp_path / "out", "--device", "cpu",
    )  # fmt: skip
    assert code == 0, err
    lines = [line for line in out.splitlines() if line.startswith("no improvement: no validation")]
    assert len(lines) == (min(wer) == wer[0])
