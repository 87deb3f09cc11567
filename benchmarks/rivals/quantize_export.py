"""Quantizes graphs exported by NeMo to int8, as the maintainers of sherpa-onnx do.

A process of `benchmarks.rivals.sherpa_export`: reads one request and answers when it is done.
"""

import json
import os
import sys
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic


def quantize(source: Path, target: Path, metadata: dict[str, str | int]) -> None:
    """Quantizes weights to 8 bits, and activations dynamically with a scale per tensor."""
    for graph in ("encoder", "decoder", "joiner"):
        out = target / f"{graph}.onnx"
        quantize_dynamic(source / out.name, out, weight_type=QuantType.QUInt8)
    encoder = onnx.load(target / "encoder.onnx")
    for key, value in metadata.items():
        encoder.metadata_props.add(key=key, value=str(value))
    onnx.save(encoder, target / "encoder.onnx")


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries is no part of the answer
    request = json.loads(sys.stdin.readline())
    quantize(Path(request["source"]), Path(request["target"]), request["metadata"])
    print(json.dumps({}), file=answers, flush=True)
