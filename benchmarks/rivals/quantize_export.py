"""Quantises what NeMo has exported to int8, as sherpa-onnx's maintainers do.

A process of `benchmarks.rivals.sherpa_export`: one line of JSON in, what to do; one line out when
it is done.
"""

import json
import os
import sys
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic


def quantise(source: Path, target: Path, metadata: dict[str, str | int]) -> None:
    """Weights in 8 bits, activations too, with a scale for each tensor at run time."""
    for graph in ("encoder", "decoder", "joiner"):
        out = target / f"{graph}.onnx"
        quantize_dynamic(source / out.name, out, weight_type=QuantType.QUInt8)
    encoder = onnx.load(target / "encoder.onnx")
    for key, value in metadata.items():
        encoder.metadata_props.add(key=key, value=str(value))
    onnx.save(encoder, target / "encoder.onnx")


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print is no answer
    request = json.loads(sys.stdin.readline())
    quantise(Path(request["source"]), Path(request["target"]), request["metadata"])
    print(json.dumps({}), file=answers, flush=True)
