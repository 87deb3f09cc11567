"""Hostile model folders: wrong values in a manifest, wrong tensors in a graph.

As a program it opens them all in this process, which a test runs under sanitizers:

    python tests/support/hostile_bundles.py native|onnxruntime|library BUNDLE WORK [EVERY]

EVERY takes one of EVERY changes. Each must end in a WheatearError or in a transcript; a wrong shape
of the library must be refused. The last line is JSON with the counts of tried, refused and run
changes, and the memory in megabytes.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import wheatear
from wheatear.errors import WheatearError
from wheatear.model.bundle import open_bundle
from wheatear.model.native_library import use_native
from wheatear.model.onnx_weights import read_initializers

VALUES = [
    *(0, 1, -1, 2**31 - 1, 2**31, 2**32 + 1, 2**63, 1e308, float("nan"), float("inf")),
    *("1", "", None, [], {}, True, 10**400, 67108878, 1 << 20),
]
GRAPHS = ("encoder.onnx", "predictor.onnx", "joint.onnx")
Change = tuple[str, Callable[[Path], None]]


# -- manifests -----------------------------------------------------------------------------------


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the paths of all values of a manifest, without its list of files."""
    if isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            if key != "files":
                yield from places(value, (*path, key))
    if path:
        yield path


def changed(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Returns a copy with another value at one path."""
    copy = json.loads(json.dumps(data))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return copy


def manifest_changes(bundle: Path) -> Iterator[Change]:
    """Yields changes that replace a value of the manifest by each of `VALUES`."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    for path in places(manifest):
        for value in VALUES:
            changed_manifest = changed(manifest, path, value)
            if path[0] == "modes" and len(path) == 3:  # otherwise the default mode is missing
                changed_manifest["default_mode"] = changed_manifest["modes"][path[1]]

            def write(folder: Path, changed_manifest: Any = changed_manifest) -> None:
                (folder / "manifest.json").write_text(json.dumps(changed_manifest))

            yield f"{'.'.join(map(str, path))} = {value!r:.30}", write


# -- graphs --------------------------------------------------------------------------------------


def tensor_changes(bundle: Path) -> Iterator[Change]:
    """Yields changes of the shape, type, data and place of each tensor."""
    for graph in GRAPHS:
        model = onnx.load(bundle / graph, load_external_data=False)
        for number, tensor in enumerate(model.graph.initializer):
            for label, change in _CHANGES.items():

                def write(
                    folder: Path, graph: str = graph, number: int = number, change: Any = change
                ) -> None:
                    model = onnx.load(folder / graph, load_external_data=False)
                    change(model.graph.initializer, number)
                    (folder / graph).write_bytes(model.SerializeToString())
                    seal(folder)

                yield f"{graph}: {tensor.name} {label}", write


def _dims(*dims: int) -> Callable[[Any, int], None]:
    def change(tensors: Any, number: int) -> None:
        del tensors[number].dims[:]
        tensors[number].dims.extend(dims)

    return change


def _scaled(axis: int, factor: int) -> Callable[[Any, int], None]:
    def change(tensors: Any, number: int) -> None:
        if tensors[number].dims:
            tensors[number].dims[axis] *= factor

    return change


def _reversed(tensors: Any, number: int) -> None:
    dims = list(tensors[number].dims)[::-1]
    _dims(*dims)(tensors, number)


def _flat(tensors: Any, number: int) -> None:
    _dims(int(np.prod(list(tensors[number].dims), dtype=np.int64)))(tensors, number)


def _typed(kind: int) -> Callable[[Any, int], None]:
    def change(tensors: Any, number: int) -> None:
        tensors[number].data_type = kind

    return change


def _placed(key: str, value: str) -> Callable[[Any, int], None]:
    def change(tensors: Any, number: int) -> None:
        tensor = tensors[number]
        if not tensor.external_data:
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for name, text in {"location": "encoder.weights", "offset": "0", "length": "4"}.items():
                tensor.external_data.add(key=name, value=text)
        for entry in tensor.external_data:
            if entry.key == key:
                entry.value = value

    return change


def _cut(tensors: Any, number: int) -> None:
    tensor = tensors[number]
    if tensor.external_data:
        _placed("length", "4")(tensors, number)
    else:
        tensor.raw_data = tensor.raw_data[:-1]


def _dropped(tensors: Any, number: int) -> None:
    del tensors[number]


def _renamed(tensors: Any, number: int) -> None:
    tensors[number].name += "x"


_CHANGES: dict[str, Callable[[Any, int], None]] = {
    "dropped": _dropped,
    "renamed": _renamed,
    "reversed": _reversed,
    "flat": _flat,
    "cut off": _cut,
    "without axes": _dims(),
    "of nothing": _dims(0, 2**62),
    "negative": _dims(-1, -4),
    "huge": _dims(2**31, 2**33),
    "twice": _scaled(0, 2),
    "wrapped": _scaled(0, 2**32 + 1),
    "bytes": _typed(onnx.TensorProto.UINT8),
    "integers": _typed(onnx.TensorProto.INT64),
    "doubles": _typed(onnx.TensorProto.DOUBLE),
    "of no type": _typed(99),
    "elsewhere": _placed("location", "../secret"),
    "everywhere": _placed("location", "/etc/passwd"),
    "before": _placed("offset", "-64"),
    "beyond": _placed("offset", str(2**62)),
    "long": _placed("length", str(2**63)),
    "off the grid": _placed("offset", "1"),
}


def seal(folder: Path) -> None:
    """Hashes the changed files again."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for name, entry in manifest["files"].items():
        data = (folder / name).read_bytes()
        entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    path.write_text(json.dumps(manifest))


# -- the library by itself -----------------------------------------------------------------------


def library_changes(bundle: Path) -> Iterator[Change]:
    """Yields wrong shapes and weights, which reach the native library without checks."""
    import wheatear_native as native

    from wheatear.encoder.native_backend import EncoderWeights, encoder_shape

    opened = open_bundle(bundle)
    tensors = read_initializers(bundle / "encoder.onnx")
    shape = encoder_shape(native, opened, tensors)
    weights = EncoderWeights(native, tensors, shape).all()
    sizes = [getattr(shape, name) for name, _type in native.EncoderShape._fields_]
    for number, (name, _type) in enumerate(native.EncoderShape._fields_):
        for value in (0, 1, 2, 3, 5, 2**31 - 1, 67108878, 2**20, 2**27 + 1, 1 << 14):
            if value == sizes[number] or (name == "heads" and not shape.width % max(value, 1)):
                continue
            wrong = [*sizes[:number], value, *sizes[number + 1 :]]
            yield (
                f"{name} = {value}",
                lambda _, wrong=wrong: native.Encoder(native.EncoderShape(*wrong), weights, 1),
            )
    for number, weight in enumerate(weights):
        others = [[], [native.Weight(None)], [weight, weight], [weights[number - 1]]]
        for other in others[: 2 if weight.data is None else 4]:
            wrong = [*weights[:number], *other, *weights[number + 1 :]]
            yield (
                f"weight {number} of {len(wrong)}",
                lambda _, wrong=wrong: native.Encoder(shape, wrong, 1),
            )


# -- runs --------------------------------------------------------------------------------------


def attempt(folder: Path, samples: np.ndarray) -> str | None:
    """Returns the error of a refused model folder; None if it runs."""
    try:
        recognizer = wheatear.load(folder, threads=1)
        recognizer.transcribe(samples)
    except WheatearError as error:
        return str(error)
    return None


def against_library(bundle: Path) -> dict[str, Any]:
    from wheatear_native import NativeError

    counts = {"tried": 0, "refused": 0, "run": 0}
    for label, change in library_changes(bundle):
        counts["tried"] += 1
        try:
            change(bundle)
        except NativeError:
            counts["refused"] += 1
        else:
            if not label.startswith("weight"):  # a bias may be left out, or another one's
                raise SystemExit(f"{label} was not refused")
            counts["run"] += 1
    return counts


def against_folders(engine: str, bundle: Path, work: Path, every: int) -> dict[str, Any]:
    samples = np.random.default_rng(0).normal(0, 0.1, 6000).astype(np.float32)
    counts = {"tried": 0, "refused": 0, "run": 0}
    for label, change in islice(
        [*manifest_changes(bundle), *tensor_changes(bundle)], 0, None, every
    ):
        folder = work / "hostile"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(bundle, folder)
        change(folder)
        counts["tried"] += 1
        try:
            with use_native("1" if engine == "native" else "0"):
                refusal = attempt(folder, samples)
        except BaseException:
            print(f"the change was: {label}", file=sys.stderr)
            raise
        if refusal is not None and ("\n" in refusal or not refusal):
            raise SystemExit(f"{label}: not one line: {refusal!r}")
        counts["run" if refusal is None else "refused"] += 1
    return counts


def peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def main(engine: str, bundle: str, work: str, every: str = "1") -> None:
    before = peak()
    if engine == "library":
        counts = against_library(Path(bundle))
    else:
        counts = against_folders(engine, Path(bundle), Path(work), int(every))
    print(json.dumps(counts | {"megabytes": peak() - before}))


if __name__ == "__main__":
    main(*sys.argv[1:])
