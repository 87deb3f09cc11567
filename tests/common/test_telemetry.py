"""Nothing leaves the machine, and nothing is kept outside of our own cache."""

import json
import os
import subprocess
import sys
import time
import warnings
from contextlib import ExitStack, closing
from fractions import Fraction
from http.client import HTTPConnection
from pathlib import Path
from types import ModuleType, SimpleNamespace

import av
import numpy as np
import pytest
import system_calls as traced
from checkpoints import ORACLE
from hub_server import Repository, serving
from websockets.sync.client import connect

from wheatear.audio.reader import sample_speech
from wheatear.common import telemetry as privacy

SAMPLE = Path(__file__).parents[2] / "src" / "wheatear" / "data" / "samples" / "en-US.flac"
CHECKPOINT = ORACLE / "tiny-multi.nemo"
HALF_A_MINUTE = 30.0
MICROPHONE = """
from wheatear.audio.reader import sample_speech

class PortAudioError(Exception): pass

def query_devices(device=None, kind=None):
    one = {"name": "A file", "max_input_channels": 1, "default_samplerate": 16000.0}
    return [one] if kind is None else one

def check_input_settings(**_): pass

class InputStream:
    def __init__(self, *, blocksize, callback, finished_callback, **_):
        self.size, self.callback, self.finished = blocksize, callback, finished_callback
    def __enter__(self):
        samples = sample_speech()
        for at in range(0, len(samples), self.size):
            block = samples[at : at + self.size]
            self.callback(block[:, None], len(block), None, "")
        self.finished()
    def __exit__(self, *_): return False
"""
LIBRARY = "import sys, time, wheatear; print(wheatear.load().transcribe(sys.argv[1]).text)"
LIBRARY += "; time.sleep(15)"
LEAK = """
import os, pathlib, socket, threading
def leak():
    for address in ("192.0.2.1", "2001:db8::1"):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as some:
            try: some.sendto(b"x", (address, 443))
            except OSError: pass
    with socket.create_server(("127.0.0.1", 0)) as here:
        socket.create_connection(here.getsockname()).close()
    (pathlib.Path.home() / "kept").touch()
    pathlib.Path("mine").touch()
threading.Thread(target=leak).start()
"""


def film(path):
    """Writes the sample in a container that FFmpeg reads."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("alac", rate=16000, layout="mono")
        pcm = (sample_speech() * 32767).astype(np.int16)
        for at in range(0, len(pcm) - 4096, 4096):
            frame = av.AudioFrame.from_ndarray(pcm[None, at : at + 4096], "s16p", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, at, Fraction(1, 16000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def use(line):
    """Sends a file and a stream to a server, whose address ends the line."""
    address = line.split()[-1].removeprefix("http://")
    edge = b"--edge\r\nContent-Disposition: form-data; name="
    body = edge + b'"model"\r\n\r\nwhisper-1\r\n' + edge + b'"file"; filename="a.flac"\r\n\r\n'
    body += SAMPLE.read_bytes() + b"\r\n--edge--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=edge"}
    with closing(HTTPConnection(address, timeout=120)) as client:
        client.request("POST", "/v1/audio/transcriptions", body, kind)
        assert json.load(client.getresponse())["text"]
        client.request("GET", "/")
        assert b"Wheatear" in client.getresponse().read()
    with connect(f"ws://{address}/ws?rate=16000") as socket:
        socket.send(sample_speech()[:16000].tobytes())
        socket.send("finish")
        assert "end" in [json.loads(message)["type"] for message in socket]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs all programs at the same time and returns their traces by name."""
    if reason := traced.missing():
        assert not os.environ.get("CI"), f"CI has to run this: {reason}"
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("privacy")
    film(folder / "film.mp4")
    (folder / "sounddevice.py").write_text(MICROPHONE)
    manifest = {"audio_filepath": str(SAMPLE), "text": "I'm sorry.", "lang": "en-US"}
    (folder / "one.jsonl").write_text(json.dumps(manifest) + "\n")
    command = ["-m", "wheatear"]
    programs = {
        "serve": [*command, "serve", "--port", "0", "--log-format", "json"],
        "library": ["-c", LIBRARY, str(SAMPLE)],
        "evaluate": [*command, "evaluate", str(folder / "one.jsonl"), "--output", "report"],
        "transcribe": [*command, "transcribe", str(SAMPLE), str(folder / "film.mp4")],
        "listen": [*command, "listen"],
        "pull": [*command, "pull", "me/mine"],
        "bench": [*command, "bench", "--latency", "1120", "--seconds", "2", "--rounds", "1"],
        "leak": ["-c", LEAK],
    }
    with traced.isolated() as pool, ExitStack() as hubs:
        hub = pool.submit(hubs.enter_context, serving()).result()
        hub.repositories = {"me/mine": Repository({"x.nemo": CHECKPOINT.read_bytes()})}
        extra = {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
        extra |= {"HF_ENDPOINT": hub.url}
        began = time.monotonic()
        found = {
            name: pool.submit(traced.start, name, folder / name, program, extra).result()
            for name, program in programs.items()
        }
        try:
            serve = found["serve"].process
            pool.submit(use, serve.stdout.readline()).result()
            time.sleep(max(0.0, began + HALF_A_MINUTE - time.monotonic()))
            assert serve.poll() is None
            found["serve"].terminate()
            done = {
                name: (*run.process.communicate(timeout=300), run) for name, run in found.items()
            }
        finally:
            for run in found.values():
                run.close()
    return done


PROGRAMS = ("serve", "library", "evaluate", "transcribe", "listen", "pull", "bench")


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_connection_leaves_the_machine(runs, name):
    """No connection to another host is tried, not even to resolve a name."""
    out, err, run = runs[name]
    assert run.process.returncode == 0, out + err
    assert run.outgoing() == []


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_file_is_kept_outside_of_our_cache(runs, name):
    _, _, run = runs[name]
    cache = run.folder / "home" / ".cache"
    ours = cache / "wheatear"
    assert {p for p in run.created() if not p.is_relative_to(ours)} <= {cache}


@pytest.mark.slow
def test_training_in_two_processes_connects_to_nothing(tmp_path):
    """By default torch resolves names of machines and keeps compiled code."""
    if reason := traced.missing():
        pytest.skip(reason)
    line = {"audio_filepath": str(SAMPLE), "text": "I'm sorry, but I was unable", "lang": "en-US"}
    (tmp_path / "some.jsonl").write_text(4 * (json.dumps(line) + "\n"))
    command = ["-m", "wheatear", "finetune", "wheatear-small", str(tmp_path / "some.jsonl")]
    command += ["--steps", "2", "--processes", "2", "--output", "run"]
    with traced.isolated() as pool:
        run = pool.submit(traced.start, "train", tmp_path / "train", command, {}).result()
        try:
            out, err = run.process.communicate(timeout=600)
        finally:
            run.close()
    assert run.process.returncode == 0, out + err
    assert run.outgoing() == []
    cache = tmp_path / "train" / "home" / ".cache"
    assert {p for p in run.created() if not p.is_relative_to(cache / "wheatear")} <= {cache}


def test_each_line_of_a_json_log_is_json(runs):
    _, err, _ = runs["serve"]
    lines = err.splitlines()
    assert lines
    for line in lines:
        json.loads(line)


def test_outgoing_connections_are_detected(runs):
    """From another thread, by TCP and UDP; loopback and the work folder are allowed."""
    _, err, run = runs["leak"]
    assert run.process.returncode == 0, err
    assert sorted("192.0.2.1" in line for line in run.outgoing()) == [False, True]
    assert run.created() == {run.folder / "home" / "kept"}


# -- the switches


def fresh(program, **environment):
    """Standard error of a new interpreter whose environment has no switch."""
    plain = {n: v for n, v in os.environ.items() if n not in {*privacy.SWITCHES, "HF_HUB_OFFLINE"}}
    return subprocess.run(
        [sys.executable, "-c", program], env=plain | environment, text=True, check=True,
        capture_output=True,
    )  # fmt: skip


def test_switches_are_on_before_anything_is_imported():
    """C code reads its variables when it is loaded."""
    program = """
import ctypes, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("numpy", "onnxruntime"):
            seen.append(read(b"ORT_DISABLE_TELEMETRY"))
read = ctypes.CDLL(None).getenv
read.restype = ctypes.c_char_p
seen = []
sys.meta_path.insert(0, Watch())
import wheatear
wheatear.load
assert seen and set(seen) == {b"1"}, seen
"""
    fresh(program, ORT_DISABLE_TELEMETRY="0")


def test_switches_reach_the_hub_and_child_processes():
    program = """
import os, subprocess, sys, wheatear
from huggingface_hub import constants
assert constants.HF_HUB_DISABLE_TELEMETRY and not constants.HF_HUB_OFFLINE
code = "import os; assert os.environ['DO_NOT_TRACK'] == os.environ['ORT_DISABLE_TELEMETRY'] == '1'"
subprocess.run([sys.executable, "-c", code], check=True)
"""
    fresh(program)
    fresh("import huggingface_hub.constants\n" + program)


@pytest.mark.parametrize(("version", "warned"), [("1.28.0", False), ("1.29.0", True)])
def test_earlier_import_of_onnxruntime_warns(monkeypatch, version, warned):
    """Later events are switched off, and the warning names the rest."""
    called = []
    module = ModuleType("onnxruntime")
    module.__version__ = version
    module.disable_telemetry_events = lambda: called.append(True)
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        privacy.switch_off()
        privacy.switch_off()  # the variable is set: no second warning
    assert called == [True]
    assert [("import wheatear first" in str(w.message)) for w in seen] == [True] * warned


def test_read_only_home_logs_nothing():
    done = fresh("import wheatear; wheatear.load()", HOME="/dev/null/none", XDG_CACHE_HOME="")
    assert (done.stdout, done.stderr) == ("", "")


def test_models_of_the_hub_are_not_fetched(monkeypatch):
    """Other engines only use models in the cache; only `pull` fetches."""
    constants = SimpleNamespace(HF_HUB_OFFLINE=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub.constants", constants)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with privacy.hub_offline():
        assert constants.HF_HUB_OFFLINE
        assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert not constants.HF_HUB_OFFLINE
    assert "HF_HUB_OFFLINE" not in os.environ


def test_plotting_restores_the_environment():
    program = """
import os, sys
before = dict(os.environ)
import wheatear.common.plotting, matplotlib
from wheatear.common.telemetry import SWITCHES, cache_folder
assert {n: v for n, v in os.environ.items() if n not in SWITCHES} == before
assert matplotlib.get_cachedir() == str(cache_folder() / "matplotlib")
"""
    fresh(program)
