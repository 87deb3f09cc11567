"""Time of a chunk by stage: mel, encoder, predictor, joint, and Python around them."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from time import perf_counter
from typing import Any

from wheatear.audio.mel import MelSpectrogram
from wheatear.model.onnx_session import Session


@contextmanager
def timed_stages() -> Iterator[dict[str, float]]:
    """Yields seconds by stage, counted within the block; the rest of the time is Python.

    Each timed call costs a third of a microsecond.
    """
    seconds: dict[str, float] = defaultdict(float)
    methods: list[tuple[type, str, Callable[[Any], str]]] = [
        (MelSpectrogram, "push", lambda _: "mel"),
        (MelSpectrogram, "finish", lambda _: "mel"),
        (Session, "run", lambda session: session.path.stem),
    ]
    with suppress(ImportError):  # optional
        native = import_module("wheatear_native")
        methods += [
            (native.Encoder, "step", lambda _: "encoder"),
            (native.Decoder, "predict", lambda _: "predictor"),
            (native.Decoder, "logits", lambda _: "joint"),
        ]
    with ExitStack() as stack:
        for owner, name, stage_of in methods:
            stack.enter_context(_timed(owner, name, seconds, stage_of))
        yield seconds


@contextmanager
def _timed(
    owner: type, name: str, seconds: dict[str, float], stage_of: Callable[[Any], str]
) -> Iterator[None]:
    """Adds the time of a method to the stage of the object that it is called on."""
    method = getattr(owner, name)

    def timed(self: Any, *arguments: Any) -> Any:
        start = perf_counter()
        try:
            return method(self, *arguments)
        finally:
            seconds[stage_of(self)] += perf_counter() - start

    setattr(owner, name, timed)
    try:
        yield
    finally:
        setattr(owner, name, method)
