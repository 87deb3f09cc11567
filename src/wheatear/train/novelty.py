"""Which words come out wrong: those that the speaker's training recordings have, or others.

    python -m wheatear.train.novelty HELD CLIPS [--model BUNDLE] [--latency 1120]

HELD is the manifest of recordings kept for evaluation, CLIPS that of the recordings trained on.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path

import wheatear
from wheatear.train.evaluate import FOLDED, Heard, hear, human_groups, normal
from wheatear.train.recordings import read_lines
from wheatear.train.sentences import LOCALE_OF


def missed(said: Sequence[str], heard: Sequence[str]) -> set[int]:
    """Which of the words that were said are not in the alignment with what was heard."""
    matcher = SequenceMatcher(None, said, heard, autojunk=False)
    right = {block.a + n for block in matcher.get_matching_blocks() for n in range(block.size)}
    return set(range(len(said))) - right


def count(heard: Sequence[Heard], known: frozenset[str]) -> Counter[str]:
    """Words that training had and others, and how many of them were missed."""
    found: Counter[str] = Counter()
    for h in heard:
        locale = h.clip.locale
        said = normal(h.clip.text, locale, locale in FOLDED)
        wrong = missed(said, normal(h.text, locale, locale in FOLDED))
        for n, word in enumerate(said):
            kind = "known" if word in known else "new"
            found[kind] += 1
            found[f"{kind} missed"] += n in wrong
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Which words come out wrong.")
    parser.add_argument("held", type=Path, help="human recordings kept for evaluation")
    parser.add_argument("clips", type=Path, help="recordings that were trained on")
    parser.add_argument("--model", help="bundle; the one that comes with Wheatear if left out")
    parser.add_argument("--latency", type=int, default=1120, help="milliseconds")
    a = parser.parse_args(argv)
    recognizer = wheatear.load(a.model)
    lines = read_lines(a.clips)
    print("| set | words trained on | missed | words not trained on | missed |")
    print("| --- | --- | --- | --- | --- |")
    for group, clips in human_groups(a.held).items():
        locale = clips[0].locale
        if locale not in recognizer.languages:
            continue
        texts = [line["text"] for line in lines if LOCALE_OF.get(line["lang"]) == locale]
        known = frozenset(w for text in texts for w in normal(text, locale, locale in FOLDED))
        found = count(hear(recognizer, clips, locale, a.latency), known)
        shares = [
            f"{found[kind]} | {100 * found[f'{kind} missed'] / max(1, found[kind]):.0f} %"
            for kind in ("known", "new")
        ]
        print(f"| {group} | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
