"""Encoder: from log-mel frames to encoder frames, cache-aware.

`encoder` has the chunk schedule, and `state` the caches of a stream. The backends compute a step in
onnxruntime or in C++. `silence` skips steps that provably change nothing.
"""
