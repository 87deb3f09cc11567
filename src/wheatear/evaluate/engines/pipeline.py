"""Models for the speech recognition pipeline of transformers."""

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import pipeline

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.samples import Samples
from wheatear.common.telemetry import torch_cache_here
from wheatear.evaluate.engines.engine import Engine, EngineInfo, Hypothesis, whisper_language


class Transformers(Engine):
    """A model from a folder or the hub's cache, in float32 on the CPU."""

    def __init__(self, model: str, threads: int) -> None:
        torch_cache_here()
        torch.set_num_threads(threads)
        self._run: Any = pipeline("automatic-speech-recognition", model=model, device="cpu")
        network = self._run.model
        # Only Whisper takes a language code.
        whisper = network.config.model_type == "whisper"
        self._codes: dict[str, int] = getattr(network.generation_config, "lang_to_id", {})
        self._takes_language = self.detects = whisper and bool(self._codes)
        self.name = f"transformers {Path(model).name}"
        parameters = sum(p.numel() for p in network.parameters())
        size = sum(p.numel() * p.element_size() for p in network.parameters())
        self.info = EngineInfo(
            "transformers", "fp32", size=size, parameters=parameters,
            fingerprint=f"{transformers.__version__} {parameters}",
        )  # fmt: skip

    def language_for(self, locale: str) -> str | None:
        language = whisper_language(locale)
        return language if not self._takes_language or f"<|{language}|>" in self._codes else None

    def transcribe(self, samples: Samples, locale: str | None) -> Hypothesis:
        language = {"language": locale} if self._takes_language and locale else {}
        audio = {"raw": samples, "sampling_rate": SAMPLE_RATE}
        found = self._run(audio, **({"generate_kwargs": language} if language else {}))
        return Hypothesis(found["text"].strip())
