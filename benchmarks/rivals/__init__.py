"""Rivals on the same random weights: NeMo, NeMo-Speech.cpp, sherpa-onnx."""
