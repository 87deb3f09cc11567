"""Report of a training run."""

from __future__ import annotations

import json
from pathlib import Path

from wheatear.train.run.report import History, write_report

ROW = {"locale": "en-US", "latency_ms": 80, "clips": 1, "words": 9, "wer": 50.0, "cer": 20.0}


def history(*steps: int) -> History:
    checks = [
        {"step": n, "progress": n / 10, "mean_wer": 50.0, "warming": n < 3, "rows": [ROW]}
        for n in steps
    ]
    return History(losses=[{"step": 1, "minutes": 0.1, "rnnt": 3.0}], checks=checks)


def test_validations_of_the_warm_up_do_not_count_against_patience() -> None:
    found = history(0, 2, 4, 6)
    assert found.checks_without_improvement() == 2
    assert found.no_improvement()
    found.best_step = 4
    assert found.checks_without_improvement() == 1
    assert not found.no_improvement()


def test_report_holds_options_and_history(tmp_path: Path) -> None:
    write_report(tmp_path, history(0, 2), {"name": "tiny"})
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["name"] == "tiny"
    assert [check["step"] for check in report["checks"]] == [0, 2]
    assert (tmp_path / "report.png").read_bytes()[:4] == b"\x89PNG"
