"""Word errors, split by words in the training recordings and other words.

    python -m recipes.wheatear_small.seen_words DIR CLIPS [--latency 1120]

DIR is the output of `wheatear evaluate`, CLIPS the manifest of the training recordings.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from recipes.wheatear_small.recordings import read_lines
from recipes.wheatear_small.test_set import comparison_words
from wheatear.evaluate.records import GIVEN, Condition, Record, read_records
from wheatear.evaluate.runner import NOISE
from wheatear.evaluate.wer import matching_pairs
from wheatear.model.locales import language_of


def count_missed(records: Iterable[Record], known: frozenset[str]) -> Counter[str]:
    """Counts words in the training data and other words, and how many of each were missed."""
    found: Counter[str] = Counter()
    for record in records:
        reference = comparison_words(record.reference, record.locale)
        hypothesis = comparison_words(record.hypothesis, record.locale)
        correct = {place for place, _ in matching_pairs(reference, hypothesis)}
        for place, word in enumerate(reference):
            kind = "known" if word in known else "new"
            found[kind] += 1
            found[f"{kind} missed"] += place not in correct
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Word errors by words in the training data.")
    parser.add_argument("evaluation", type=Path, help="output folder of an evaluation")
    parser.add_argument("clips", type=Path, help="manifest of the training recordings")
    parser.add_argument("--latency", type=int, default=1120, help="milliseconds")
    a = parser.parse_args(argv)
    sets: dict[tuple[Condition, str, str], list[Record]] = {}
    for record in read_records(a.evaluation).values():
        c = record.condition
        chosen = (c.latency_ms, c.prompt, record.fault) == (a.latency, GIVEN, None)
        if chosen and record.group != NOISE:
            sets.setdefault((c, record.locale, record.group), []).append(record)
    several = len({c for c, _, _ in sets}) > 1
    lines = read_lines(a.clips)
    print("| set | words trained on | missed | words not trained on | missed |")
    print("| --- | --- | --- | --- | --- |")
    for (c, locale, group), records in sets.items():
        same = [line for line in lines if language_of(line["lang"]) == language_of(locale)]
        known = frozenset(word for line in same for word in comparison_words(line["text"], locale))
        found = count_missed(records, known)
        shares = [
            f"{found[kind]} | {100 * found[f'{kind} missed'] / max(1, found[kind]):.0f} %"
            for kind in ("known", "new")
        ]
        system = f"{c.system} {c.precision}, {c.mode}, " if several else ""
        print(f"| {system}{locale}, {group} | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
