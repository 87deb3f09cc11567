"""The Ray Serve example, on two replicas of this machine: every stream whole, and both at work.

Ray is half a gigabyte and no dependency of ours, so that this runs where it is installed:
pip install 'ray[serve]' && pytest -m slow tests/server/test_ray_example.py
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
from server_process import events
from websockets.sync.client import connect

import wheatear

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed"),
]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def cluster():
    """The example's address."""
    port = free_port()
    program = (
        "import sys, ray, signal, threading; from ray import serve; "
        "ray.init(num_cpus=2, include_dashboard=False, _node_ip_address='127.0.0.1'); "
        f"serve.start(http_options={{'host': '127.0.0.1', 'port': {port}}}); "
        "from examples.ray_serve import app; serve.run(app); print('up', flush=True); "
        "sys.stdin.read(); serve.shutdown(); ray.shutdown()"
    )
    environment = os.environ | {
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]]),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert any(line.strip() == "up" for line in process.stdout), "Ray Serve did not start"
        yield f"127.0.0.1:{port}"
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


def test_streams_on_two_replicas_are_whole(cluster, spoken):
    expected = wheatear.load(threads=1).transcribe(spoken, latency_ms=560).text

    def stream(n):
        with connect(f"ws://{cluster}/ws?latency=560", open_timeout=30) as socket:
            events(socket, "ready")
            for start in range(0, len(spoken), 1600):
                socket.send(spoken[start : start + 1600].tobytes())
                time.sleep(0.02)
            socket.send("finish")
            return " ".join(m["text"] for m in events(socket, "end") if m["type"] == "final")

    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(stream, range(8)))
    assert {text.strip() for text in texts} == {expected}
    # Streams counted on whichever replica answers: over some looks both have been at work.
    counts = {sockets_of(cluster) for _ in range(40)}
    assert len(counts) > 1 or counts == {4.0}, counts


def sockets_of(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as response:
        text = response.read().decode()
    name = 'wheatear_requests_total{method="SOCKET"'
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def test_models_are_listed_and_errors_are_ours(cluster):
    with urllib.request.urlopen(f"http://{cluster}/v1/models", timeout=10) as response:
        assert json.load(response)["data"][0]["id"] == "wheatear-small"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{cluster}/nothing", timeout=10)
    assert json.load(refused.value)["error"]["code"] == "not_found"
