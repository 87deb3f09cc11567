"""Metrics of the server and of a scheduler."""

from wheatear.server.metrics import Metrics, ModelObserver


def test_observer_counts_steps_lag_and_rejections():
    metrics = Metrics()
    observer = ModelObserver(metrics, "small")
    observer.on_step(3, 7, 0.01, live=True)
    observer.on_step(1, 112, 0.2, live=False)
    observer.on_lag(560, 0.1)
    observer.on_rejected()
    text = metrics.text().decode()
    for line in (
        'wheatear_step_seconds_count{kind="live",model="small"} 1.0',
        'wheatear_step_seconds_count{kind="file",model="small"} 1.0',
        'wheatear_step_streams_sum{model="small"} 3.0',
        'wheatear_lag_seconds_count{latency_ms="560",model="small"} 1.0',
        'wheatear_refused_total{reason="overload"} 1.0',
    ):
        assert line in text.splitlines(), line


def test_servers_have_separate_metrics():
    first, second = Metrics(), Metrics()
    first.errors.labels("request").inc()
    assert "wheatear_errors_total{" not in second.text().decode()
