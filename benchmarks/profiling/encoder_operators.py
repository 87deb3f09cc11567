"""Where the time of the encoder's graph goes in onnxruntime, operator by operator."""

import gc
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnxruntime as ort

from wheatear.bench.measurements import Setting
from wheatear.bench.worker import run_streams
from wheatear.model.bundle import ENCODER
from wheatear.model.native_library import wanted
from wheatear.recognizer.recognizer import load

BETWEEN = "between nodes"


def operator_shares(bundle: Path, setting: Setting) -> dict[str, float]:
    """Shares of the encoder's time by operator, and by the size of products with weights; the
    rest is what onnxruntime does between its nodes (profiling adds to that).
    """
    graph = Path(ENCODER).stem
    with tempfile.TemporaryDirectory() as folder:
        with _profiled(Path(folder)):
            recognizer = load(bundle, threads=setting.threads)
        run_streams(recognizer, setting, {})
        del recognizer
        gc.collect()  # a session writes its profile when it ends
        (profile,) = Path(folder).glob(f"{graph}_*.json")
        return _shares(json.loads(profile.read_text(encoding="utf-8")))


@contextmanager
def _profiled(folder: Path) -> Iterator[None]:
    """Sessions that are opened in the block write a profile each, named after their graph; the
    encoder is one of them, whether wheatear-native is installed or not.
    """
    plain = ort.InferenceSession

    class Profiled(plain):
        def __init__(self, path: Path, options: ort.SessionOptions, **more: Any) -> None:
            options.enable_profiling = True
            options.profile_file_prefix = str(folder / path.stem)
            super().__init__(path, options, **more)

    ort.InferenceSession = Profiled
    try:
        with wanted("0"):
            yield
    finally:
        ort.InferenceSession = plain


def _shares(events: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Largest first."""
    total = 0.0
    kernels: dict[str, float] = defaultdict(float)
    for event in events:
        if event["name"] == "model_run":
            total += event["dur"]
        elif event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            kernels[_operator(event["args"])] += event["dur"]
    del kernels["If"]  # its branches are in the profile themselves
    kernels[BETWEEN] = total - sum(kernels.values())
    shares = {name: spent / total for name, spent in kernels.items()}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _operator(node: Mapping[str, Any]) -> str:
    """The operator, with the size of its weights if it is a product with packed ones."""
    name = node["op_name"]
    if name != "MatMulNBits":
        return name
    inputs, outputs = (
        next(iter(node[f"{side}_type_shape"][0].values()))[-1] for side in ("input", "output")
    )
    return f"{name} {inputs} x {outputs}"
