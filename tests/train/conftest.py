"""A work folder with a corpus that is small enough to train on in a test."""

from __future__ import annotations

from pathlib import Path

import pytest
from training_runs import write_corpus


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Folder of a run, with part "a" of a corpus."""
    write_corpus(tmp_path / "corpus")
    return tmp_path
