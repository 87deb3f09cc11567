"""Two replicas behind nginx, set up by deploy/nginx.conf."""

import json
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from server_process import events, running
from websockets.sync.client import connect

DEPLOY = Path(__file__).parents[2] / "deploy"

pytestmark = pytest.mark.skipif(not shutil.which("nginx"), reason="there is no nginx here")


@contextmanager
def proxied(ports, folder):
    """nginx over replicas on these ports; its own port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        own = probe.getsockname()[1]
    part = (DEPLOY / "nginx.conf").read_text()
    part = re.sub(r"(?m)^\s+(ssl_certificate|server_name).*$", "", part)
    part = part.replace("listen 443 ssl", f"listen 127.0.0.1:{own}").replace("$host", "$http_host")
    for configured, port in zip(("8001", "8002"), ports, strict=True):
        part = part.replace(f"127.0.0.1:{configured} ", f"127.0.0.1:{port} ")
    temporary = "\n".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}\n{part}\n}}\n"
    )
    process = subprocess.Popen(["nginx", "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", own)) == 0:
                    break
            time.sleep(0.05)
        yield f"127.0.0.1:{own}"
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(20)


def stream(address, spoken, _=0):
    with connect(f"ws://{address}/ws?latency=560", open_timeout=20) as client:
        events(client, "ready")
        for start in range(0, len(spoken), 3200):
            client.send(spoken[start : start + 3200].tobytes())
            time.sleep(0.02)
        client.send("finish")
        return [m["text"] for m in events(client, "end") if m["type"] == "final" and m["text"]]


def test_streams_are_shared_out_and_outlive_a_replica_that_goes(spoken, tmp_path):
    with running() as one, running() as two, proxied((one.port, two.port), tmp_path) as address:
        with ThreadPoolExecutor(6) as pool:
            texts = list(pool.map(lambda n: stream(address, spoken, n), range(6)))
            assert all(text == texts[0] and text for text in texts)
            shares = [s.metric("wheatear_requests", method="SOCKET") for s in (one, two)]
            assert sum(shares) == 6
            assert min(shares) >= 2
            on = [pool.submit(stream, address, spoken) for _ in range(4)]
            time.sleep(0.2)
            one.process.terminate()  # those on it go on to their end
            later = [stream(address, spoken) for _ in range(3)]
            assert all(text == texts[0] for text in later)
            assert all(run.result() == texts[0] for run in on)
        assert one.process.wait(30) == 0


def test_files_and_errors_come_through(spoken, tmp_path):
    with running() as one, running() as two, proxied((one.port, two.port), tmp_path) as address:
        with urllib.request.urlopen(f"http://{address}/v1/models", timeout=10) as response:
            assert json.load(response)["data"]
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://{address}/nothing", timeout=10)
        assert json.load(refused.value)["error"]["code"] == "not_found"
