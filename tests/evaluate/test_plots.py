"""Plots of a summary."""

from wheatear.evaluate.plots import draw


def test_plots_are_svg_or_none(summary):
    assert draw(summary, "speed").startswith("<svg")
    assert draw(summary, "rates:unknown:fp32") is None
    latencies = [dict(row, latency_ms=ms) for row in summary["rows"] for ms in (80, 1120)]
    curve = draw({**summary, "rows": latencies}, "rates:good:int8")
    assert "latency, ms" in curve
    labeled = [dict(row, locale="$x$ ไทย <&>") for row in summary["rows"]]
    assert "$x$ ไทย &lt;&amp;&gt;" in draw({**summary, "rows": labeled}, "rates:good:int8")
    empty = {"rows": [], "means": []}
    assert [draw(empty, name) for name in ("speed", "edits", "latency")] == [None] * 3
