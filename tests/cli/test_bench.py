"""`wheatear bench` on random weights and on the shipped model."""

import json
import re
from importlib.util import find_spec

import numpy as np
import pytest

from wheatear.bench.measurements import STAGES
from wheatear.bench.token_rate import SPEECH
from wheatear.cli import main

KEYS = {
    *("model", "precision", "latency_ms", "streams", "threads", "chunk_ms_p50", "chunk_ms_p95"),
    *("chunk_ms_p99", "rtfx", "peak_rss_mb", "load_s", "cpu_s_per_audio_s", "shares", "rounds"),
    *("machine", "engine", "tokens_per_audio_s"),
}


@pytest.fixture
def run(models, capsys):
    """Runs `wheatear bench`; returns exit code, standard output and error."""

    def call(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main(["bench", *map(str, arguments)])
        out, err = capsys.readouterr()
        return exit_.value.code, out, err

    return call


def test_streams_are_measured_at_each_combination(run, tmp_path):
    file, picture = tmp_path / "runs.json", tmp_path / "runs.png"
    code, out, err = run(
        *("--random", "tiny", "--latency", "80,560", "--streams", "1,3", "--seconds", "2"),
        *("--rounds", "2", "--json", file, "--picture", picture),
    )
    assert (code, err) == (0, "")
    assert "live streams" in out
    assert "where the time goes" in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    runs = json.loads(file.read_text())
    assert len(runs) == 4
    assert {run["latency_ms"] for run in runs} == {80, 560}
    for found in runs:
        assert set(found) >= KEYS
        assert 0 < found["chunk_ms_p50"] <= found["chunk_ms_p95"] <= found["chunk_ms_p99"]
        assert sum(found["shares"].values()) == pytest.approx(1)
        assert list(found["shares"]) == list(STAGES)
        assert all(share > 0 for share in found["shares"].values())
        assert found["rtfx"] > 1
        assert 20 < found["peak_rss_mb"] < 500
        assert len(found["rounds"]) == 2
        assert found["chunks"] == 2 * round(2000 / found["latency_ms"])
        assert found["machine"]["onnxruntime"]
    rates = [found["tokens_per_audio_s"] for found in runs if found["streams"] == 3]
    assert SPEECH / 2 < np.mean(rates) < SPEECH * 2


def test_shipped_model_emits_its_own_tokens(run, tmp_path):
    file = tmp_path / "runs.json"
    assert run("speed", "--latency", 560, "--seconds", 4, "--rounds", 1, "--json", file)[0] == 0
    (found,) = json.loads(file.read_text())
    assert found["model"] == "wheatear-small"
    assert 1 < found["tokens_per_audio_s"] < 10


def test_whole_file_is_measured(run, tmp_path):
    file = tmp_path / "runs.json"
    code, out, _ = run(
        *("--random", "tiny", "--precision", "int8,int4", "--whole", "--latency", 320),
        *("--seconds", 20, "--rounds", 1, "--json", file),
    )
    assert code == 0
    assert "a file of 20 s" in out
    assert "live streams" not in out
    runs = json.loads(file.read_text())
    assert [found["precision"] for found in runs] == ["int8", "int4"]
    for found in runs:
        assert "chunk_ms_p50" not in found
        assert found["rtfx"] == pytest.approx(20_000 / found["file_ms_p50"])
        assert SPEECH / 2 < found["tokens_per_audio_s"] < SPEECH * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--random", "huge"], "nemotron-3.5, nemotron-en, tiny"),
        (["--random", "tiny", "--model", "wheatear-small"], "not both"),
        (["--precision", "int4"], "the precision it was converted to"),
        (["--random", "tiny", "--precision", "int5"], "fp32, int8, int4"),
        (["--latency", "100"], "80, 160, 320, 560, 1120 ms"),
        (["--latency", "fast"], "--latency"),
        (["--threads", "0"], "--threads has 0"),
        (["--rounds", "0"], "--rounds has 0"),
        (["--seconds", "0"], "--seconds is 0"),
        (["--tokens", "-1"], "--tokens is -1"),
        (["--against", "kaldi"], "--against"),
        (["--json", "/nowhere/at/all.json"], "No such file"),
    ],
)
def test_invalid_option_is_one_line_of_error(run, options, message):
    code, out, err = run(*options)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_onnxruntime_is_measured_in_the_same_turns(run):
    options = ("--random", "tiny", "--latency", 80, "--streams", "1,2", "--seconds", 1)
    code, out, err = run(*options, "--rounds", 1, "--against", "onnxruntime")
    if find_spec("wheatear_native") is None:
        assert (code, out) == (2, "")
        assert "wheatear-native is not installed" in err
    else:
        assert code == 0
        assert len(re.findall(r"wheatear +int4 +80 +[12] +1 +\d+\.\d *\n", out)) == 2
