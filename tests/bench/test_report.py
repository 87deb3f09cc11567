"""Tables of a measurement."""

from io import StringIO

from random_bundles import make_measurement, make_setting
from rich.console import Console

from wheatear.bench.measurements import Run
from wheatear.bench.report import print_report

MACHINE = {
    "cpu": "a processor", "flags": ["avx2"], "usable_cores": 2, "cores": 4, "date": "2026-11-30T12",
    "reads_gb_s": {"1": 10.0}, "wheatear": "1", "wheatear_native": None, "native_path": None,
    "onnxruntime": "2", "numpy": "3", "python": "4", "environment": {}, "load_average": [0.5],
}  # fmt: skip


def print_runs(*runs: Run) -> str:
    console = Console(file=StringIO(), width=160)
    print_report(console, runs, MACHINE)
    return console.file.getvalue()


def test_report_has_times_shares_and_ratios():
    ours = make_measurement(10.0, stages={"encoder": 0.005, "Python": 0.005})
    text = print_runs(
        Run(make_setting(), (ours,)), Run(make_setting(engine="nemo"), (make_measurement(25.0),))
    )
    assert "a processor, 2 cores, avx2" in text
    assert "m: live streams, milliseconds for each chunk" in text
    assert text.count("50.0") == 2
    assert "2.5" in text.splitlines()[-2]


def test_report_of_one_engine_has_no_ratios():
    text = print_runs(Run(make_setting(whole=True), (make_measurement(10.0),)))
    assert "m: a file of 2 s, milliseconds" in text
    assert "times as fast" not in text
