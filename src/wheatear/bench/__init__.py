"""Measures speed: of a bundle or of random weights, beside NeMo and sherpa-onnx if asked."""
