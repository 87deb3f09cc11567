"""NeMo-Speech.cpp with one live stream: python nemo_speech_cpp_worker.py LIBRARY MODEL

The library is the C interface, libnemo_speech_asr_c.so; it runs on the CPU.
"""

import ctypes as c
import json
import os
import sys
import time

import numpy as np

ERROR = "nemo_speech_asr_last_error"


class Backend(c.Structure):
    _fields_ = (("size", c.c_size_t), ("gpu", c.c_int32))


class Model(c.Structure):
    _fields_ = (("size", c.c_size_t), ("path", c.c_char_p), ("name", c.c_char_p))


class Streaming(c.Structure):
    _fields_ = (
        ("size", c.c_size_t), ("chunk_size", c.c_float), ("left", c.c_float),
        ("right", c.c_float), ("right_context", c.c_int32),
    )  # fmt: skip


class Config(c.Structure):
    _fields_ = (
        ("size", c.c_size_t), ("backend", c.POINTER(Backend)), ("model", c.POINTER(Model)),
        ("streaming", c.POINTER(Streaming)), ("others", c.c_void_p * 6),
    )  # fmt: skip


def sized(kind, *fields):
    """A structure that begins with its size."""
    return kind(c.sizeof(kind), *fields)


class Recognizer:
    """One model at one latency."""

    def __init__(self, library, model, latency_ms):
        self.library = c.CDLL(library)
        lookahead = latency_ms // 80 - 1  # frames
        backend = sized(Backend, -1)
        file = sized(Model, os.fsencode(model), None)
        streaming = sized(Streaming, latency_ms / 1000, 0.0, 0.0, lookahead)
        config = sized(Config, c.pointer(backend), c.pointer(file), c.pointer(streaming))
        self.recognizer = c.c_void_p()
        self.call("create", c.byref(config), c.byref(self.recognizer))

    def call(self, name, *arguments):
        if getattr(self.library, f"nemo_speech_asr_{name}")(*arguments):
            last_error = getattr(self.library, ERROR)
            last_error.restype = c.c_char_p
            raise SystemExit(f"{name}: {(last_error() or b'').decode(errors='replace')}")

    def stream(self):
        stream = c.c_void_p()
        self.call("streaming_recognize", self.recognizer, None, c.byref(stream))
        return stream

    def push(self, stream, samples):
        """Pushes samples and discards the text."""
        address = samples.ctypes.data_as(c.c_void_p)
        self.call("stream_push_f32", stream, address, c.c_size_t(len(samples)), c.c_int32(16000))
        while True:
            result = c.c_void_p()
            self.call("stream_next", stream, c.byref(result))
            if not result:
                return
            self.library.nemo_speech_asr_result_destroy(result)


def measure(recognizer, request):
    """Fields of wheatear.bench.measurements.Measurement for the chunks after the warm-up."""
    samples = np.load(request["samples"]).astype(np.float32)
    warm_up, chunks = request["warm_up"], request["chunks"]
    chunk = request["latency_ms"] * 16
    stream, chunk_ms, cpu = recognizer.stream(), [], 0.0
    for n in range(warm_up + chunks):
        if n == warm_up:
            chunk_ms.clear()
            cpu = time.process_time()
        block = np.ascontiguousarray(samples[n * chunk : (n + 1) * chunk])
        start = time.perf_counter()
        recognizer.push(stream, block)
        chunk_ms.append((time.perf_counter() - start) * 1000)
    if min(chunk_ms) < np.median(chunk_ms) / 3:
        raise SystemExit("a chunk of audio was not a step of NeMo-Speech.cpp")
    seconds = len(chunk_ms) * request["latency_ms"] / 1000
    cpu_s = time.process_time() - cpu
    return {"chunk_ms": chunk_ms, "audio_s": seconds, "cpu_s": cpu_s, "tokens": 0}


def main(library, model):
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries is no part of the answer
    for line in sys.stdin:
        request = json.loads(line)
        start = time.perf_counter()
        recognizer = Recognizer(library, model, request["latency_ms"])
        load_s = time.perf_counter() - start
        answer = measure(recognizer, request)
        print(json.dumps({**answer, "load_s": load_s}), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
