"""Lines of a training run on standard error."""

from __future__ import annotations

import pytest

from wheatear.train.run.progress import ProgressDisplay

ROWS = [
    {"locale": "en-US", "latency_ms": 80, "wer": 50.0, "cer": 20.0},
    {"locale": "en-US", "latency_ms": 1120, "wer": 40.0, "cer": 10.0},
]


def test_losses_and_validations_are_lines_without_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ProgressDisplay() as display:
        display.message("[a] line")
        display.advance(3, 0.5, 61.0)
        display.losses({"step": 3, "minutes": 1.0, "rnnt": 2.5, "rate": 1e-3}, 61.0, 0.5, 20.0)
        display.validation(3, ROWS, best=True)
    err = capsys.readouterr().err
    assert "[a] line\n" in err
    assert "step 3  1.0 min, 0:01:01 left  rnnt 2.5  rate 0.001  0.50 h of audio, 20x" in err
    assert "validation at step 3, the best yet" in err
    assert "50.0 (20.0)" in err


def test_quiet_display_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay(quiet=True) as display:
        display.message("line")
        display.validation(3, ROWS, best=False)
    assert capsys.readouterr().err == ""
