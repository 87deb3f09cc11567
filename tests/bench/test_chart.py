"""Charts of a measurement."""

import pytest
from random_bundles import make_measurement, make_setting

from wheatear.bench.chart import draw_chart
from wheatear.bench.measurements import Run


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
