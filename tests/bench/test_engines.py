"""Wheatear in a process of its own."""

import numpy as np
import pytest
from random_bundles import make_setting

from wheatear.bench.engines import Wheatear
from wheatear.errors import BenchError


def test_memory_is_that_of_the_measured_process(tiny):
    held = np.ones(60_000_000)  # 480 MB
    found = Wheatear({"int4": tiny}).measure(make_setting(seconds=0.5))
    assert held[-1] == 1
    assert 20 < found.peak_rss_mb < 300


def test_failed_measurement_gives_the_last_line_of_the_process(tmp_path):
    with pytest.raises(BenchError, match=r"wheatear cannot be measured: .*no-model"):
        Wheatear({"int4": tmp_path / "no-model"}).measure(make_setting())
