"""The benchmark: what it measures is there and adds up, and what it does not touch stays."""

import json
import re
import stat
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wheatear
from benchmarks.profiling.encoder_operators import BETWEEN, operator_shares
from benchmarks.rivals import gguf_export as gguf_pack
from benchmarks.rivals import sherpa_export as packs
from wheatear.audio.mel import MelSpectrogram
from wheatear.audio.reader import sample_speech
from wheatear.bench import random_model as weights
from wheatear.bench import report
from wheatear.bench.engines import Wheatear
from wheatear.bench.grid import Grid, measure
from wheatear.bench.machine import describe_machine
from wheatear.bench.measurements import STAGES, Run, Setting, Taken, comparable, ratio
from wheatear.bench.process import Process
from wheatear.bench.stages import timed_stages
from wheatear.bench.token_rate import SPEECH, chance, drawn, speaking
from wheatear.cli import main
from wheatear.convert.architecture import read_architecture
from wheatear.convert.checkpoints.open import open_checkpoint
from wheatear.decoder.greedy import Decoder
from wheatear.errors import AudioError, BenchError
from wheatear.model.bundle import open_bundle
from wheatear.model.onnx_session import Session

KEYS = {
    *("model", "precision", "latency_ms", "streams", "threads", "chunk_ms_p50", "chunk_ms_p95"),
    *("chunk_ms_p99", "rtfx", "peak_rss_mb", "load_s", "cpu_s_per_audio_s", "shares", "rounds"),
    *("machine", "engine", "tokens_per_audio_s"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The models folder; random bundles are made once for all tests."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHEATEAR_MODELS", str(folder))
        yield folder


@pytest.fixture
def tiny(models):
    """A bundle of tiny random weights."""
    return weights.random_bundles("tiny", ["int4"], lambda *_: None)[0]


@pytest.fixture
def run(models, capsys):
    """Runs `wheatear bench`; returns exit code, standard output and error."""

    def call(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main(["bench", *map(str, arguments)])
        out, err = capsys.readouterr()
        return exit_.value.code, out, err

    return call


def setting(**changes):
    usual = {"engine": "wheatear", "model": "m", "precision": "int4", "latency_ms": 80}
    usual |= {"streams": 1, "threads": 1, "seconds": 2.0}
    return Setting(**usual | changes)


def taken(*chunk_ms, **changes):
    usual = {"audio_s": 1.0, "cpu_s": 0.5, "tokens": 3, "load_s": 1.0, "peak_rss_mb": 100.0}
    return Taken(chunk_ms, **usual | changes)


# -- the command ---------------------------------------------------------------------------------


def test_streams(run, tmp_path):
    file, picture = tmp_path / "runs.json", tmp_path / "runs.png"
    code, out, err = run(
        *(
            "--random",
            "tiny",
            "--latency",
            "80,560",
            "--streams",
            "1,3",
        ),
        *("--seconds", "2", "--rounds", "2", "--json", file, "--picture", picture),
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
    many = [found["tokens_per_audio_s"] for found in runs if found["streams"] == 3]
    assert SPEECH / 2 < np.mean(many) < SPEECH * 2


def test_the_shipped_model_says_what_it_hears(run, tmp_path):
    file = tmp_path / "runs.json"
    assert run("speed", "--latency", 560, "--seconds", 4, "--rounds", 1, "--json", file)[0] == 0
    (found,) = json.loads(file.read_text())
    assert found["model"] == "wheatear-small"
    assert 1 < found["tokens_per_audio_s"] < 10


def test_a_whole_file(run, tmp_path):
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
        (["--against", "kaldi"], "onnxruntime, nemo, sherpa"),
        (["--random", "tiny", "--against", "nemo"], "--nemo-python"),
        (["--against", "nemo-speech-cpp"], "needs --nemo-speech-cpp, its library"),
        (
            ["--against", "nemo-speech-cpp", "--nemo-speech-cpp", "/no.so"],
            "--nemo-speech-cpp: there is no /no.so",
        ),
        (["--against", "nemo", "--nemo-python", "python"], "peers are measured on --random"),
        (["--json", "/nowhere/at/all.json"], "No such file"),
    ],
)
def test_what_makes_no_sense_is_one_line(run, options, message):
    code, out, err = run(*options)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_operators(run, tiny):
    code, out, _ = run("operators", "--random", "tiny", "--latency", "80,320", "--seconds", 1)
    assert code == 0
    assert re.search(r"MatMulNBits 64 x 256 +\d+\.\d +\d+\.\d", out)
    shares = operator_shares(tiny, setting(seconds=1.0, tokens_per_s=SPEECH))
    assert sum(shares.values()) == pytest.approx(1)
    assert BETWEEN in shares
    assert "If" not in shares


def test_wheatear_without_the_native_encoder(run):
    options = (
        "--random",
        "tiny",
        "--latency",
        80,
        "--streams",
        "1,2",
        "--seconds",
        1,
        "--rounds",
        1,
    )
    code, out, err = run(*options, "--against", "onnxruntime")
    if find_spec("wheatear_native") is None:
        assert (code, out) == (2, "")
        assert "wheatear-native is not installed" in err
    else:
        assert code == 0
        assert len(re.findall(r"wheatear +int4 +80 +[12] +1 +\d+\.\d *\n", out)) == 2


# -- random weights ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters"), [("nemotron-3.5", 637_997_088), ("nemotron-en", 618_084_865)]
)
def test_random_models_have_the_published_size(name, parameters):
    shapes = weights.random_model(name).tensors()
    assert sum(int(np.prod(shape)) for _, shape in shapes) == parameters


def test_a_random_checkpoint_is_the_same_each_time(tmp_path):
    for name in "ab":
        weights.write_checkpoint("tiny", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_random_bundles_are_kept_until_the_conversion_changes(tiny, monkeypatch):
    made = (tiny / "manifest.json").stat().st_mtime_ns
    assert weights.random_bundles("tiny", ["int4"], lambda *_: None) == [tiny]
    assert (tiny / "manifest.json").stat().st_mtime_ns == made
    monkeypatch.setattr(weights, "maker", lambda: "random weights, made by another")
    weights.random_bundles("tiny", ["int4"], lambda *_: None)
    assert open_bundle(tiny).manifest.source == "random weights, made by another"


def test_the_english_model_has_its_own_latencies():
    config = weights.random_model("nemotron-en").config()
    assert config["encoder"]["att_context_size"] == [[70, 13], [70, 6], [70, 1], [70, 0]]
    assert not config["model_defaults"]


# -- tokens --------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 30), st.integers(3, 14_000))
def test_tokens_are_drawn_row_by_row(seed, rate, outputs):
    rng = np.random.default_rng(seed)
    frames, predictions = rng.standard_normal((2, 40, 8), np.float32)
    together = drawn(frames, predictions, outputs, chance(rate))
    alone = [
        drawn(f[None], p[None], outputs, chance(rate))[0]
        for f, p in zip(frames, predictions, strict=True)
    ]
    assert together.tolist() == alone
    assert together.min() >= 1
    assert together.max() <= outputs - 1


@pytest.mark.parametrize("rate", [1.0, 3.0, 12.0])
def test_a_stream_speaks_as_fast_as_asked(tiny, rate):
    recognizer = wheatear.load(tiny, threads=1)
    samples = np.resize(sample_speech(), 60 * 16000)
    with speaking(rate):
        found = recognizer.transcribe(samples, latency_ms=560)
    assert len(found.tokens) / 60 == pytest.approx(rate, rel=0.3)


def test_tokens_depend_on_the_samples_alone(tiny):
    recognizer = wheatear.load(tiny, threads=1)
    with speaking(SPEECH):
        stream = recognizer.stream(latency_ms=160)
        for block in np.array_split(sample_speech(), 7):
            stream.push(block)
        assert stream.finish() == recognizer.transcribe(sample_speech(), latency_ms=160)


def test_nothing_stays_changed(tiny):
    before = Session.run, Decoder.best, MelSpectrogram.push, MelSpectrogram.finish
    recognizer = wheatear.load(tiny)
    with pytest.raises(AudioError), speaking(SPEECH), timed_stages():
        recognizer.transcribe("nothing.wav")
    assert before == (Session.run, Decoder.best, MelSpectrogram.push, MelSpectrogram.finish)


def test_stages_are_timed(tiny):
    recognizer = wheatear.load(tiny, threads=1)
    with speaking(SPEECH), timed_stages() as seconds:
        recognizer.transcribe(sample_speech())
    assert set(seconds) == set(STAGES) - {"Python"}
    assert all(spent > 0 for spent in seconds.values())


# -- rounds --------------------------------------------------------------------------------------


class Noted:
    """An engine that notes the order it is asked in."""

    def __init__(self):
        self.asked = []

    def take(self, asked):
        self.asked.append(asked)
        return taken(float(len(self.asked)))


def test_settings_are_measured_in_turn():
    ours, theirs = Noted(), Noted()
    grid = Grid("m", [80, 560], [1, 8], [1], 2.0)
    settings = grid.settings(["int4"], ["nemo"])
    assert [(s.engine, s.latency_ms, s.streams) for s in settings] == [
        *(("wheatear", 80, 1), ("wheatear", 80, 8), ("nemo", 80, 1)),
        *(("wheatear", 560, 1), ("wheatear", 560, 8), ("nemo", 560, 1)),
    ]
    told = []
    engines = {"wheatear": ours, "nemo": theirs}
    runs = measure(settings, engines, 3, lambda setting, share: told.append(share))
    mine = [s for s in settings if s.engine == "wheatear"]
    assert ours.asked == [*mine, *mine[::-1], *mine]
    assert [run.setting for run in runs] == settings
    assert all(len(run.rounds) == 3 for run in runs)
    assert told == sorted(told)


def test_each_is_compared_with_its_like():
    settings = Grid("m", [80], [1, 8], [1], 2.0).settings(["int4", "int8"], ["onnxruntime", "nemo"])
    ours = [s for s in settings if s.engine == "wheatear"]
    like = {
        (s.precision, s.streams): [
            (other.engine, other.precision, other.streams)
            for other in settings
            if other.engine != "wheatear" and comparable(s, other)
        ]
        for s in ours
    }
    assert like == {
        ("int4", 1): [("onnxruntime", "int4", 1), ("nemo", "fp32", 1)],
        ("int4", 8): [("onnxruntime", "int4", 8)],
        ("int8", 1): [("onnxruntime", "int8", 1), ("nemo", "fp32", 1)],
        ("int8", 8): [("onnxruntime", "int8", 8)],
    }


def test_what_rounds_come_to():
    run = Run(setting(), (taken(10, 20, 30, load_s=3.0), taken(12, 14, 16, peak_rss_mb=120.0)))
    assert run.percentiles(0, 50, 100) == [10, 15, 30]
    assert run.chunk_ms == 14
    assert run.rtfx == pytest.approx(2 / 0.102)
    found = run.to_json()
    assert (found["load_s"], found["peak_rss_mb"]) == (1.0, 120.0)
    assert found["cpu_s_per_audio_s"] == 0.5
    assert found["shares"] == {}
    assert ratio(run, Run(setting(engine="nemo"), (taken(140),))) == 10


def test_the_machine_is_described(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    machine = describe_machine()
    assert machine["environment"]["OPENBLAS_NUM_THREADS"] == "1"
    assert machine["cpu"]
    assert machine["cores"] >= 1
    assert all(0.1 < rate < 10_000 for rate in machine["reads_gb_s"].values())
    assert "memory is read at" in report.describe(machine)
    json.dumps(machine)


# -- processes -----------------------------------------------------------------------------------


def test_memory_is_of_the_measured_process_alone(tiny):
    held = np.ones(60_000_000)  # 480 MB
    found = Wheatear({"int4": tiny}).take(setting(seconds=0.5))
    assert held[-1] == 1
    assert 20 < found.peak_rss_mb < 300


def test_a_process_that_dies_says_why():
    process = Process("it", [sys.executable, "-c", "import nothing_of_the_kind"])
    with process, pytest.raises(BenchError, match=r"it cannot be measured: .*of_the_kind"):
        process.ask({})
    with pytest.raises(BenchError, match=r"cannot start /no-such-python"):
        Process("it", ["/no-such-python"])


PEER = """#!{python}
import json, sys, pathlib
import numpy as np
if "sherpa_worker" in sys.argv[1]:
    assert (pathlib.Path(sys.argv[2]) / "tokens.txt").exists()
else:
    assert pathlib.Path(sys.argv[2]).stat().st_size > 100_000  # a checkpoint
for line in sys.stdin:
    asked = json.loads(line)
    assert asked["do"] == "stream"
    chunks, ms = asked["chunks"], asked["latency_ms"]
    assert len(np.load(asked["samples"])) > (asked["warm_up"] + chunks) * ms * 16
    found = {{"chunk_ms": [1000.0] * chunks, "audio_s": chunks * ms / 1000, "cpu_s": chunks * 1.0,
              "tokens": chunks, "load_s": 2.0}}
    print(json.dumps(found), flush=True)
"""


@pytest.fixture
def peer_python(tmp_path):
    """Stands for the Python of an environment with a peer; takes a second for each chunk."""
    path = tmp_path / "python"
    path.write_text(PEER.format(python=sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_peers_are_measured_beside_us(run, models, peer_python, tmp_path):
    pack = models / "random-tiny-sherpa-80"
    pack.mkdir()
    (pack / "tokens.txt").touch()
    file, picture = tmp_path / "runs.json", tmp_path / "runs.png"
    options = ["--random", "tiny", "--latency", 80, "--streams", "1,2", "--seconds", 1]
    peers = ["--against", "sherpa", "--sherpa-python", peer_python]
    code, _, err = run(*options, *peers)
    assert code == 2
    assert "give --nemo-python as well" in err
    (pack / "maker.txt").write_text(packs._fingerprint())
    peers = ["--against", "nemo,sherpa", *peers[2:], "--nemo-python", peer_python]
    code, out, err = run(*options, *peers, "--rounds", 2, "--json", file, "--picture", picture)
    assert (code, err) == (0, "")
    runs = json.loads(file.read_text())
    engines = Counter(found["engine"] for found in runs)
    assert engines == {"wheatear": 2, "nemo": 1, "sherpa": 1}
    (nemo,) = [found for found in runs if found["engine"] == "nemo"]
    assert (nemo["precision"], nemo["chunk_ms_p50"], nemo["shares"]) == ("fp32", 1000, {})
    assert nemo["peak_rss_mb"] > 5
    ours = next(found for found in runs if found["engine"] == "wheatear")
    times = [f"{1000 / ours['chunk_ms_best_p50']:.1f}"] * 2
    assert re.search(r"wheatear +int4 +80 +1 +1 +" + " +".join(times), out)
    assert not list(models.glob(".random-*"))


LIBRARY = r"""
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <cstdlib>
#include <unistd.h>

struct Backend { size_t size; int32_t gpu; };
struct Model { size_t size; const char *path, *name; };
struct Streaming { size_t size; float chunk, left, right; int32_t right_context; };
struct Config {
    size_t size;
    Backend* backend;
    Model* model;
    Streaming* streaming;
    void* others[6];
};

static const char* fault = "";
static int results = 0, samples = 0;

static int wrong(const char* what) { return fault = what, 1; }

extern "C" {
const char* nemo_speech_asr_last_error() { return fault; }
int nemo_speech_asr_create(const Config* config, void** out) {
    if (config->size != sizeof(Config) || config->backend->size != sizeof(Backend) ||
        config->model->size != sizeof(Model) || config->streaming->size != sizeof(Streaming))
        return wrong("sizes");
    for (void* other : config->others) if (other) return wrong("others");
    if (config->backend->gpu != -1) return wrong("not the processor");
    if (config->streaming->chunk != 0.16f || config->streaming->right_context != 1)
        return wrong("not 160 ms");
    if (std::strcmp(std::getenv("OMP_THREAD_LIMIT"), "2")) return wrong("threads");
    std::FILE* file = std::fopen(config->model->path, "rb");
    char magic[5] = "";
    if (!file || std::fread(magic, 1, 4, file) != 4 || std::strcmp(magic, "GGUF"))
        return wrong("no GGUF");
    std::fclose(file);
    std::puts("what libraries print");
    *out = &results;
    return 0;
}
int nemo_speech_asr_streaming_recognize(void* recognizer, void*, void** out) {
    return *out = recognizer, recognizer != &results;
}
int nemo_speech_asr_stream_push_f32(void*, const float* x, size_t count, int32_t rate) {
    for (size_t i = 0; i < count; ++i) if (!(x[i] >= -1 && x[i] <= 1)) return wrong("no samples");
    if (rate != 16000 || count != 2560) return wrong("no chunk");
    results = 1;
    return samples++ == BROKEN ? 0 : usleep(20000);
}
int nemo_speech_asr_stream_next(void*, void** out) {
    *out = results ? &results : nullptr;
    return 0;
}
void nemo_speech_asr_result_destroy(void*) { results = 0; }
}
"""


def library_of(folder: Path, broken: int) -> Path:
    """NeMo-Speech.cpp's C interface with 20 ms for a chunk, and none for the `broken`-th."""
    source, library = folder / "peer.cpp", folder / f"peer{broken}.so"
    source.write_text(LIBRARY)
    command = ["g++", "-shared", "-fPIC", f"-DBROKEN={broken}", source, "-o", library]
    subprocess.run(command, check=True)
    return library


def test_nemo_speech_cpp_is_measured_by_its_library(run, models, tmp_path):
    file = tmp_path / "runs.json"
    options = ["--random", "tiny", "--latency", 160, "--threads", 2, "--seconds", 1]
    options += ["--against", "nemo-speech-cpp", "--rounds", 1, "--json", file]
    code, out, err = run(*options, "--nemo-speech-cpp", library_of(tmp_path, broken=-1))
    assert (code, err) == (0, "")
    theirs = next(r for r in json.loads(file.read_text()) if r["engine"] == "nemo-speech-cpp")
    assert (theirs["precision"], theirs["tokens_per_audio_s"]) == ("q8_0", 0)
    assert 20 <= theirs["chunk_ms_p50"] < 200
    assert re.search(r"nemo-speech-cpp +\n.*\n +wheatear +int4 +160 +1 +2 +\d+\.\d", out)
    written = (models / "random-tiny-gguf" / "model.gguf").stat().st_mtime_ns
    code, _, err = run(*options, "--nemo-speech-cpp", library_of(tmp_path, broken=9))
    assert code == 2
    assert "a chunk of audio was not a step of NeMo-Speech.cpp" in err
    options[3] = 320
    code, _, err = run(*options, "--nemo-speech-cpp", library_of(tmp_path, broken=-1))
    assert code == 2
    assert "create: not 160 ms" in err
    assert (models / "random-tiny-gguf" / "model.gguf").stat().st_mtime_ns == written


def test_a_gguf_pack_holds_the_random_model(tmp_path):
    """As read by what reads NVIDIA's own: the same shapes, and a joint that says nothing."""
    checkpoint = tmp_path / "x.safetensors"
    weights.write_checkpoint("tiny", checkpoint)
    pack = tmp_path / "pack"
    assert not gguf_pack.is_current(pack)
    gguf_pack.write_pack(pack, checkpoint)
    assert gguf_pack.is_current(pack)
    with open_checkpoint(checkpoint) as own, open_checkpoint(pack / "model.gguf") as theirs:
        assert read_architecture(theirs) == read_architecture(own)
        for name in own.weights.names():
            x, y = own.weights.read(name), theirs.weights.read(name)
            if name == "joint.joint_net.2.bias":
                assert y[-1] - x[-1] == pytest.approx(50)
                x, y = x[:-1], y[:-1]
            assert np.abs(x - y).max() <= np.abs(x).max() / 100, name
