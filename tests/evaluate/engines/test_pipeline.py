"""transformers, by a package in its place."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fake_engines import tone
from package_stubs import stub_package

from wheatear.evaluate.engines.engine import Hypothesis
from wheatear.evaluate.engines.registry import open_engine


def test_only_whisper_takes_a_language(monkeypatch):
    pytest.importorskip("torch")
    calls = []

    class Run:
        def __init__(self, codes, kind):
            config = SimpleNamespace(lang_to_id=codes) if codes else SimpleNamespace()
            weight = SimpleNamespace(numel=lambda: 10, element_size=lambda: 4)
            self.model = SimpleNamespace(
                config=SimpleNamespace(model_type=kind), generation_config=config,
                parameters=lambda: iter([weight, weight]),
            )  # fmt: skip

        def __call__(self, audio, **options):
            calls.append((len(audio["raw"]), audio["sampling_rate"], options))
            return {"text": " Ja. "}

    made = {"multi": Run({"<|de|>": 1}, "whisper"), "ctc": Run({}, "wav2vec2")}
    stub_package(
        monkeypatch, "transformers", "pipeline", __version__="5",
        pipeline=lambda task, model, device: made[model],
    )  # fmt: skip
    engine = open_engine("transformers:multi", 1)
    assert (engine.info.parameters, engine.info.size) == (20, 80)
    assert [engine.language_for(x) for x in ("de-AT", "fr-FR")] == ["de", None]
    assert engine.transcribe(tone(5), "de") == Hypothesis("Ja.")
    assert engine.transcribe(tone(5), None) == Hypothesis("Ja.")
    plain = open_engine("transformers:ctc", 1)
    assert (plain.detects, plain.language_for("fr-FR")) == (False, "fr")
    plain.transcribe(tone(5), "fr")
    assert calls == [
        (8000, 16000, {"generate_kwargs": {"language": "de"}}), (8000, 16000, {}),
        (8000, 16000, {}),
    ]  # fmt: skip
