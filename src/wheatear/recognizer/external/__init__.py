"""Packages of ONNX graphs that other projects exported, run as they are."""
