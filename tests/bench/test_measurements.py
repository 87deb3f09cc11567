"""Statistics of rounds."""

import pytest
from random_bundles import make_measurement, make_setting

from wheatear.bench.grid import Grid
from wheatear.bench.measurements import Run, are_comparable, speed_ratio


def test_run_summarizes_its_rounds():
    first = make_measurement(10, 20, 30, load_s=3.0)
    run = Run(make_setting(), (first, make_measurement(12, 14, 16, peak_rss_mb=120.0)))
    assert run.percentiles(0, 50, 100) == [10, 15, 30]
    assert run.chunk_ms == 14
    assert run.rtfx == pytest.approx(2 / 0.102)
    found = run.to_json()
    assert (found["load_s"], found["peak_rss_mb"]) == (1.0, 120.0)
    assert found["cpu_s_per_audio_s"] == 0.5
    assert found["shares"] == {}
    assert speed_ratio(run, Run(make_setting(engine="nemo"), (make_measurement(140),))) == 10


def test_shares_are_of_all_rounds():
    rounds = [make_measurement(1000, stages={"encoder": s, "mel": 0.2}) for s in (0.4, 0.8)]
    shares = Run(make_setting(), tuple(rounds)).shares
    assert shares == pytest.approx(
        {"mel": 0.2, "encoder": 0.6, "predictor": 0, "joint": 0, "Python": 0}
    )


def test_settings_are_compared_with_others_of_the_same_work():
    grid = Grid("m", [80], [1, 8], [1], 2.0)
    settings = grid.settings(["int4", "int8"], True, {"nemo": "fp32"})
    comparable = {
        (s.precision, s.streams): [
            (other.engine, other.precision, other.streams)
            for other in settings
            if other.engine != "wheatear" and are_comparable(s, other)
        ]
        for s in settings
        if s.engine == "wheatear"
    }
    assert comparable == {
        ("int4", 1): [("onnxruntime", "int4", 1), ("nemo", "fp32", 1)],
        ("int4", 8): [("onnxruntime", "int4", 8)],
        ("int8", 1): [("onnxruntime", "int8", 1), ("nemo", "fp32", 1)],
        ("int8", 8): [("onnxruntime", "int8", 8)],
    }
