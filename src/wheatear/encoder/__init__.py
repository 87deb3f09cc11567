"""Encoder: from log-mel frames to encoder frames, cache-aware.

`encoder` has the chunk schedule, `state` what a stream remembers, the backends compute a step in
onnxruntime or in C++, and `silence` skips steps that provably change nothing.
"""
