"""Where the time of a chunk goes: mel, the three graphs, and Python around them."""

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
    """Counts seconds by stage, as long as the block lasts; what is left of the time is Python's.

    Costs a third of a microsecond for each call that it times.
    """
    seconds: dict[str, float] = defaultdict(float)
    with ExitStack() as stack:
        stack.enter_context(_timed(MelSpectrogram, "push", seconds, lambda _: "mel"))
        stack.enter_context(_timed(MelSpectrogram, "finish", seconds, lambda _: "mel"))
        stack.enter_context(_timed(Session, "run", seconds, lambda session: session.path.stem))
        with suppress(ImportError):  # optional
            native = import_module("wheatear_native")
            stack.enter_context(_timed(native.Encoder, "step", seconds, lambda _: "encoder"))
            stack.enter_context(_timed(native.Decoder, "predict", seconds, lambda _: "predictor"))
            stack.enter_context(_timed(native.Decoder, "logits", seconds, lambda _: "joint"))
        yield seconds


@contextmanager
def _timed(
    owner: type, name: str, seconds: dict[str, float], stage_of: Callable[[Any], str]
) -> Iterator[None]:
    """Counts the seconds in a method of `owner`, under the name that `stage_of` has for the object
    it is called on.
    """
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
