"""A small vocabulary for tests."""

from __future__ import annotations

PIECES = [
    "<unk>", *("▁" + c for c in "abcn"), *"abcnhoijJ", "▁Jo", "hn", "▁Jon", "ny", "▁", "an", "na",
    "▁ban", "ana", "<en>", "今日", "は",
]  # fmt: skip
