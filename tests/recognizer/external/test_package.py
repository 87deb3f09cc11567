"""External packages: description, languages, latency, scheduler and command line."""

import shutil
import threading

import onnx
import pytest
from checkpoints import speech
from package_kinds import ONE_EACH
from source_weights import read_source

import wheatear
from wheatear.cli import main
from wheatear.errors import LanguageError, LatencyError
from wheatear.evaluate.engines.wheatear import Wheatear as Evaluated
from wheatear.model.latency import LatencyMode
from wheatear.recognizer.options import StreamOptions
from wheatear.server.scheduler.admission import LoadBudget
from wheatear.server.scheduler.events import StreamEnded, StreamFailed
from wheatear.server.scheduler.scheduler import Scheduler
from wheatear.transcript.results import Final


def test_description_of_a_package(foreign):
    manifest = foreign("sherpa-320").model.manifest
    assert manifest.modes == (LatencyMode(56, 3),)
    assert (manifest.encoder.layers, manifest.encoder.width, manifest.encoder.kernel) == (2, 64, 9)
    assert (manifest.decoder.layers, manifest.decoder.hidden, manifest.decoder.blank) == (2, 32, 96)
    assert manifest.prompts == answers_prompts()
    assert "en-US" in manifest.tags.values()
    assert foreign("sherpa-int8").model.manifest.precision == "int8"
    assert foreign("genai-int4").model.manifest.precision == "int4"
    assert foreign("parakeet-en").model.manifest.prompts == {}


def answers_prompts():
    return read_source("tiny-multi").config["model_defaults"]["prompt_dictionary"]


def test_the_published_dictionary_where_a_package_has_none(foreign):
    prompts = foreign("genai-560").model.manifest.prompts
    assert len(prompts) == 121
    assert (prompts["auto"], prompts["en-US"], prompts["ja-JP"], prompts["nn"]) == (101, 0, 10, 104)


@pytest.mark.parametrize("kind", ONE_EACH)
def test_another_latency_is_rejected(foreign, kind):
    recognizer = foreign(kind)
    (own,) = recognizer.latencies_ms
    for other in {80, 320, 560, 1120} - {own}:
        with pytest.raises(LatencyError, match=f"no {other} ms mode: it runs at {own} ms "):
            recognizer.stream(latency_ms=other)
    assert recognizer.stream(latency_ms=own).latency_ms == own


def test_another_language_is_rejected(foreign):
    with pytest.raises(LanguageError, match="does not know the language 'tlh'"):
        foreign("sherpa-320").stream(language="tlh")
    with pytest.raises(LanguageError, match="takes no language prompt"):
        foreign("parakeet-en").stream(language="de-DE")


class Events(list):
    """Events of a scheduled stream."""

    def __init__(self):
        super().__init__()
        self.over = threading.Event()

    def __call__(self, events):
        self += events
        if any(isinstance(item, StreamEnded | StreamFailed) for item in events):
            self.over.set()


@pytest.mark.parametrize("kind", ["sherpa-320", "genai-560"])
def test_a_package_is_scheduled(foreign, kind):
    """Live streams and a file at once, with and without batches in the graph."""
    recognizer, samples = foreign(kind), speech("tiny-multi")[:60_000]
    scheduler = Scheduler(recognizer, LoadBudget(1000))
    received = [Events() for _ in range(3)]
    feeds = [
        scheduler.open(events, StreamOptions(), live=n > 0) for n, events in enumerate(received)
    ]
    for n, feed in enumerate(feeds):
        feed.push(samples[n * 700 :])
        feed.finish()
    for n, events in enumerate(received):
        assert events.over.wait(60)
        found = [token for item in events if isinstance(item, Final) for token in item.tokens]
        assert found == list(recognizer.transcribe(samples[n * 700 :]).tokens)
    scheduler.close()


def test_a_package_is_evaluated(package_of, tmp_path):
    folder = shutil.copytree(package_of("parakeet-en"), tmp_path / "package")
    before = Evaluated(wheatear.load(folder), 560).info
    assert (before.precision, before.latency_ms) == ("as published", 560)
    assert before.parameters is None
    graph = onnx.load(folder / "encoder.onnx")
    graph.doc_string = "another one"
    onnx.save(graph, folder / "encoder.onnx")
    assert Evaluated(wheatear.load(folder), 560).info != before


def test_info_locales_and_transcribe_on_the_command_line(package_of, capsys):
    for command in ("info", "locales", "transcribe"):
        arguments = [str(package_of("genai-int4"))]
        if command != "info":
            arguments.insert(0, "--model")
        if command == "transcribe":
            arguments += ["src/wheatear/data/samples/en-US.flac", "--language", "en-US"]
        with pytest.raises(SystemExit) as end:
            main([command, *arguments])
        assert end.value.code == 0
    out = capsys.readouterr().out
    assert "int4" in out
    assert "560 (default) ms" in out
    assert "unknown" in out


def test_models_by_name(package_of, monkeypatch):
    monkeypatch.setenv("WHEATEAR_MODELS", str(package_of("sherpa-320").parent))
    assert wheatear.load("sherpa-320", threads=1).latencies_ms == (320,)
