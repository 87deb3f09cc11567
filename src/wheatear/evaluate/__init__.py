"""Accuracy and latency on recordings: error rates, times and speed of this and other engines.

    clips -> engines -> records (utterances.jsonl) -> rows (summary.json) -> report (md, html)

docs/evaluate.md describes each figure. `import wheatear` imports nothing of this package; packages
of other engines are imported when such an engine is opened.
"""

from wheatear.evaluate.normalizer import normalize

__all__ = ["normalize"]
