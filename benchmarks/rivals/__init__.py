"""Rivals on the same weights: NeMo, NeMo-Speech.cpp, sherpa-onnx."""
