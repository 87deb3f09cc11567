"""Packages of ONNX graphs that other projects exported, run without conversion."""
