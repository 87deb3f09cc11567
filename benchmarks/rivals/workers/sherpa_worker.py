"""sherpa-onnx with one live stream: python sherpa_worker.py FOLDER THREADS

The folder holds encoder.onnx, decoder.onnx, joiner.onnx and tokens.txt.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import sherpa_onnx


def stream(recognizer, request):
    """Fields of wheatear.bench.measurements.Measurement for the chunks after the warm-up."""
    samples = np.load(request["samples"])
    warm_up, chunks = request["warm_up"], request["chunks"]
    chunk = request["latency_ms"] * 16
    live = recognizer.create_stream()
    # Its first chunk needs two frames and the window's look-ahead more than the others.
    head = request["latency_ms"] * 16 + 3 * 1280
    live.accept_waveform(16000, samples[:head])
    while recognizer.is_ready(live):
        recognizer.decode_stream(live)
    chunk_ms, steps, before, cpu = [], [], 0, 0.0
    for n in range(warm_up + chunks):
        if n == warm_up:
            chunk_ms.clear()
            steps.clear()
            cpu, before = time.process_time(), len(recognizer.tokens(live))
        block = samples[head + n * chunk : head + (n + 1) * chunk]
        start = time.perf_counter()
        live.accept_waveform(16000, block)
        ready = 0
        while recognizer.is_ready(live):
            recognizer.decode_stream(live)
            ready += 1
        recognizer.get_result(live)
        chunk_ms.append((time.perf_counter() - start) * 1000)
        steps.append(ready)
    if set(steps) != {1}:
        raise SystemExit(f"a chunk of audio was not a step of sherpa-onnx: {steps}")
    return {
        "chunk_ms": chunk_ms,
        "audio_s": len(chunk_ms) * request["latency_ms"] / 1000,
        "cpu_s": time.process_time() - cpu,
        "tokens": len(recognizer.tokens(live)) - before,
    }


def main(folder, threads):
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries is no part of the answer
    start = time.perf_counter()
    parts = {part: str(Path(folder) / f"{part}.onnx") for part in ("encoder", "decoder", "joiner")}
    recognizer = sherpa_onnx.OnlineRecognizer.from_transducer(
        tokens=str(Path(folder) / "tokens.txt"), num_threads=threads, feature_dim=128, **parts
    )
    load_s = time.perf_counter() - start
    for line in sys.stdin:
        answer = stream(recognizer, json.loads(line))
        print(json.dumps({**answer, "load_s": load_s}), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
