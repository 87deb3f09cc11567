"""Charts of a measurement."""

import sys

import pytest
from random_bundles import make_measurement, make_setting

from wheatear.bench.chart import check_matplotlib, draw_chart
from wheatear.bench.measurements import Run
from wheatear.errors import MissingExtraError


@pytest.mark.parametrize("whole", [False, True])
def test_chart_is_a_png(tmp_path, whole):
    measurement = make_measurement(10.0, stages={"encoder": 0.01})
    runs = [
        Run(make_setting(latency_ms=ms, engine=engine, whole=whole), (measurement,))
        for ms in (80, 560)
        for engine in ("wheatear", "onnxruntime")
    ]
    draw_chart(tmp_path / "chart.png", runs, "a machine")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_missing_matplotlib_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"wheatear\[evaluate\]"):
        check_matplotlib()
