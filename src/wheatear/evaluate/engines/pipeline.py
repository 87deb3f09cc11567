"""Whatever the speech recognition pipeline of transformers takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import pipeline

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.samples import Samples
from wheatear.common.telemetry import torch_cache_here
from wheatear.evaluate.engines.engine import Engine, EngineInfo, Hypothesis
from wheatear.model.locales import language_of

_LANGUAGES = {"nb": "no", "cmn": "zh"}


class Transformers(Engine):
    """A model of the hub or of a folder, in float32 on the CPU."""

    def __init__(self, model: str, threads: int) -> None:
        torch_cache_here()
        torch.set_num_threads(threads)
        self._run: Any = pipeline("automatic-speech-recognition", model=model, device="cpu")
        network = self._run.model
        # Only Whisper takes a language by its code; to others none is given.
        whisper = network.config.model_type == "whisper"
        self._codes: dict[str, int] = getattr(network.generation_config, "lang_to_id", {})
        self._asked = self.detects = whisper and bool(self._codes)
        self.name = f"transformers {Path(model).name}"
        parameters = sum(p.numel() for p in network.parameters())
        size = sum(p.numel() * p.element_size() for p in network.parameters())
        self.info = EngineInfo(
            "transformers", "fp32", size=size, parameters=parameters,
            fingerprint=f"{transformers.__version__} {parameters}",
        )  # fmt: skip

    def language_for(self, locale: str) -> str | None:
        language = _LANGUAGES.get(language_of(locale), language_of(locale))
        return language if not self._asked or f"<|{language}|>" in self._codes else None

    def transcribe(self, samples: Samples, locale: str | None) -> Hypothesis:
        options = {"generate_kwargs": {"language": locale}} if self._asked and locale else {}
        found = self._run({"raw": samples, "sampling_rate": SAMPLE_RATE}, **options)
        return Hypothesis(found["text"].strip())
