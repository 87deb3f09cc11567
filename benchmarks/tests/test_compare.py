"""Rivals in the same turns: processes and a library in their place."""

import json
import re
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.rivals.compare import compare
from benchmarks.rivals.process import Process
from benchmarks.rivals.sherpa_export import MAKER, maker_fingerprint
from wheatear.cli.bench import SpeedOptions
from wheatear.errors import BenchError


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({}, {"against": ("kaldi",)}, "onnxruntime, nemo, sherpa"),
        ({"random": "tiny"}, {"against": ("nemo",)}, "--nemo-python"),
        ({}, {"against": ("nemo-speech-cpp",)}, "needs --nemo-speech-cpp, its library"),
        (
            {},
            {"against": ("nemo-speech-cpp",), "nemo_speech_cpp": Path("/no.so")},
            "--nemo-speech-cpp: there is no /no.so",
        ),
        (
            {},
            {"against": ("nemo",), "nemo_python": Path("python")},
            "rivals are measured only on --random",
        ),
    ],
)
def test_invalid_options_are_errors(options, arguments, message):
    with pytest.raises(BenchError, match=message):
        compare(options=SpeedOptions(**options), **arguments)


def test_process_that_ends_gives_its_last_line():
    process = Process("it", [sys.executable, "-c", "import nothing_of_the_kind"])
    with process, pytest.raises(BenchError, match=r"it cannot be measured: .*of_the_kind"):
        process.request({})
    with pytest.raises(BenchError, match=r"cannot start /no-such-python"):
        Process("it", ["/no-such-python"])


RIVAL = """#!{python}
import json, sys, pathlib
import numpy as np
if "sherpa_worker" in sys.argv[1]:
    assert (pathlib.Path(sys.argv[2]) / "tokens.txt").exists()
else:
    assert pathlib.Path(sys.argv[2]).stat().st_size > 100_000  # a checkpoint
for line in sys.stdin:
    request = json.loads(line)
    assert request["do"] == "stream"
    chunks, ms = request["chunks"], request["latency_ms"]
    assert len(np.load(request["samples"])) > (request["warm_up"] + chunks) * ms * 16
    found = {{"chunk_ms": [1000.0] * chunks, "audio_s": chunks * ms / 1000, "cpu_s": chunks * 1.0,
              "tokens": chunks, "load_s": 2.0}}
    print(json.dumps(found), flush=True)
"""


@pytest.fixture
def rival_python(tmp_path):
    """In place of the Python of an environment with a rival; takes a second for each chunk."""
    path = tmp_path / "python"
    path.write_text(RIVAL.format(python=sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_rivals_are_measured_in_the_same_turns(models, rival_python, tmp_path, capsys):
    pack = models / "random-tiny-sherpa-80"
    pack.mkdir()
    (pack / "tokens.txt").touch()
    file = tmp_path / "runs.json"
    options = SpeedOptions(
        random="tiny", latency=(80,), streams=(1, 2), seconds=1.0, rounds=2, json=file,
        picture=tmp_path / "runs.png",
    )  # fmt: skip
    with pytest.raises(BenchError, match="give --nemo-python as well"):
        compare(options=options, against=("sherpa",), sherpa_python=rival_python)
    (pack / MAKER).write_text(maker_fingerprint())
    compare(
        options=options, against=("nemo", "sherpa"), nemo_python=rival_python,
        sherpa_python=rival_python,
    )  # fmt: skip
    runs = json.loads(file.read_text())
    engines = Counter(found["engine"] for found in runs)
    assert engines == {"wheatear": 2, "nemo": 1, "sherpa": 1}
    (nemo,) = [found for found in runs if found["engine"] == "nemo"]
    assert (nemo["precision"], nemo["chunk_ms_p50"], nemo["shares"]) == ("fp32", 1000, {})
    assert nemo["peak_rss_mb"] > 5
    ours = next(found for found in runs if found["engine"] == "wheatear")
    ratios = " +".join([f"{1000 / ours['chunk_ms_best_p50']:.1f}"] * 2)
    assert re.search(rf"wheatear +int4 +80 +1 +1 +{ratios}", capsys.readouterr().out)
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


def test_nemo_speech_cpp_is_measured_by_its_library(models, tmp_path, capsys):
    file = tmp_path / "runs.json"

    def run(latency_ms, broken):
        options = SpeedOptions(
            random="tiny", latency=(latency_ms,), threads=(2,), seconds=1.0, rounds=1, json=file
        )
        library = library_of(tmp_path, broken)
        compare(options=options, against=("nemo-speech-cpp",), nemo_speech_cpp=library)

    run(160, broken=-1)
    theirs = next(r for r in json.loads(file.read_text()) if r["engine"] == "nemo-speech-cpp")
    assert (theirs["precision"], theirs["tokens_per_audio_s"]) == ("q8_0", 0)
    assert 20 <= theirs["chunk_ms_p50"] < 200
    out = capsys.readouterr().out
    assert re.search(r"nemo-speech-cpp +\n.*\n +wheatear +int4 +160 +1 +2 +\d+\.\d", out)
    written = (models / "random-tiny-gguf" / "model.gguf").stat().st_mtime_ns
    with pytest.raises(BenchError, match=r"a chunk of audio was not a step of NeMo-Speech\.cpp"):
        run(160, broken=9)
    with pytest.raises(BenchError, match="create: not 160 ms"):
        run(320, broken=-1)
    assert (models / "random-tiny-gguf" / "model.gguf").stat().st_mtime_ns == written
