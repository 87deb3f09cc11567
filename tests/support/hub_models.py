"""Fixtures and helpers for models on a stand-in of the hub."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkpoints import ORACLE
from hub_server import Repository, StandIn, serving
from huggingface_hub import constants

from wheatear.model.hub import download
from wheatear.model.hub.pull import Fetched
from wheatear.model.hub.pull import pull as pull_with
from wheatear.model.store import MODELS_VARIABLE, models_folder

NEMO = (ORACLE / "tiny-multi.nemo").read_bytes()
NVIDIA = "nvidia/nemotron-3.5-asr-streaming-0.6b"
FILE = "nemotron-3.5-asr-streaming-0.6b.nemo"


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with serving() as hub:
        yield hub


@pytest.fixture
def hub(server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """The hub with one published model, an empty folder of models, and no waits."""
    server.repositories = {NVIDIA: Repository({FILE: NEMO, "README.md": b"hello"})}
    server.plain, server.faults = {}, {}
    server.requests.clear()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path / "models"))
    monkeypatch.setattr(download, "sleep", lambda seconds: None)
    return server


def copy_files(fetched: Fetched, out: Path) -> None:
    """Builds a folder with the files of a source and its texts."""
    out.mkdir()
    for name, path in fetched.paths.items():
        shutil.copy(path, out / name)
    for name, text in fetched.license_files("Copied").items():
        (out / name).write_text(text)


def pull(what: str, **options: Any) -> Path:
    """Fetches a model and copies its files instead of converting them."""
    return pull_with(what, **{"build": copy_files, "model_bytes": lambda source: 0.0, **options})


def models_here() -> list[str]:
    """Returns the names in the folder of models, hidden ones included."""
    folder = models_folder()
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def unfinished_files() -> list[Path]:
    """Returns the files that pulls have left in their hidden folder."""
    files = (models_folder() / ".downloads").rglob("*")
    return sorted(path for path in files if path.is_file() and path.suffix != ".lock")
