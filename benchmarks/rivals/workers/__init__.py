"""Programs that run under another Python, where NeMo or sherpa-onnx is installed.

They import nothing of Wheatear and speak as `wheatear.bench.worker` does: a line of JSON each way.
"""
