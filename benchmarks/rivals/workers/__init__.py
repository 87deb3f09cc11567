"""Programs for the Python of an environment with NeMo or sherpa-onnx.

They import nothing of Wheatear. Each request and each answer is one line of JSON.
"""
