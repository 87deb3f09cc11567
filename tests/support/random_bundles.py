"""Fixtures: a models folder, and a bundle of tiny random weights in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from wheatear.bench.measurements import Measurement, Setting
from wheatear.bench.random_model import random_bundles


@pytest.fixture(scope="session")
def random_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that keeps random bundles for all tests."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def models(random_models: Path) -> Iterator[Path]:
    """The models folder of the tests in a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHEATEAR_MODELS", str(random_models))
        yield random_models


@pytest.fixture
def tiny(models: Path) -> Path:
    """A bundle of tiny random weights."""
    return random_bundles("tiny", ["int4"], lambda *_: None)[0]


def make_setting(**changes) -> Setting:
    usual = {"engine": "wheatear", "model": "m", "precision": "int4", "latency_ms": 80}
    usual |= {"streams": 1, "threads": 1, "seconds": 2.0}
    return Setting(**usual | changes)


def make_measurement(*chunk_ms: float, **changes) -> Measurement:
    usual = {"audio_s": 1.0, "cpu_s": 0.5, "tokens": 3, "load_s": 1.0, "peak_rss_mb": 100.0}
    return Measurement(chunk_ms, **usual | changes)
