"""Fixtures of all tests: the oracle's checkpoints, converted and loaded once."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from checkpoints import ORACLE

import wheatear
from wheatear.convert.pipeline import convert
from wheatear.model.native_library import NATIVE_VARIABLE


def pytest_configure() -> None:
    """Restores SIGINT, which shells ignore in background jobs; tests send it to programs."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Tests that are skipped without torch; tests/support/external_packages.py makes packages with
# it.
_OF_TORCH = re.compile(
    r"^(?:import|from) (?:torch|wheatear\.train|external_packages)\b", re.MULTILINE
)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """True for tests that need torch if it is not installed."""
    if find_spec("torch") is not None:
        return None
    tests = Path(__file__).parent
    if collection_path in (tests / "train", tests / "recognizer" / "external"):
        return True
    is_test = collection_path.suffix == ".py"
    return (is_test and bool(_OF_TORCH.search(collection_path.read_text("utf-8")))) or None


@pytest.fixture(scope="session")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Converts a checkpoint of the oracle once per precision."""
    folder = tmp_path_factory.mktemp("bundles")

    def make(model: str, precision: str = "fp32") -> Path:
        out = folder / f"{model}-{precision}"
        if not out.exists():
            convert(ORACLE / f"{model}.nemo", out, precision)
        return out

    return make


@pytest.fixture(scope="module", params=["onnxruntime", "native"])
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Backend of the models loaded during a test; each test runs with both."""
    if request.param == "native" and find_spec("wheatear_native") is None:
        pytest.skip("wheatear-native is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(NATIVE_VARIABLE, "1" if request.param == "native" else "0")
        yield request.param


@pytest.fixture(scope="session")
def recognizer_of(bundle_of: Callable[..., Path]) -> Callable[..., wheatear.Recognizer]:
    """Loads a checkpoint of the oracle."""

    @cache
    def loaded(bundle: Path, engine: str) -> wheatear.Recognizer:
        return wheatear.load(bundle, threads=1)

    return lambda *model: loaded(bundle_of(*model), os.environ.get(NATIVE_VARIABLE, ""))
