"""Profiles of the encoder in onnxruntime."""
