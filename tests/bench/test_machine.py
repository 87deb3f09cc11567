"""Description of the machine."""

import json
import os

from wheatear.bench.machine import describe_machine, peak_rss_mb
from wheatear.bench.report import machine_text


def test_machine_is_described(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    machine = describe_machine()
    assert machine["environment"]["OPENBLAS_NUM_THREADS"] == "1"
    assert machine["cpu"]
    assert machine["cores"] >= 1
    assert all(0.1 < rate < 10_000 for rate in machine["reads_gb_s"].values())
    assert "memory is read at" in machine_text(machine)
    json.dumps(machine)


def test_peak_memory_of_any_process():
    assert peak_rss_mb() > 20
    assert 0 < peak_rss_mb(os.getppid()) < 1e6
    assert peak_rss_mb(2**30) == 0
