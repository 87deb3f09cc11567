"""How good a model is: error rates, latencies and speed, of this engine and of others.

    clips -> engines -> records (utterances.jsonl) -> rows (summary.json) -> report (md, html)

`wheatear evaluate` is the command; docs/evaluate.md tells what each figure means. Nothing here is
imported by `import wheatear`, and other engines' packages only where they are asked for.
"""

from wheatear.evaluate.normalizer import normalize

__all__ = ["normalize"]
